import pytest
import torch

from sktreevae.utils.devices import fits_on, resolve_device, resolve_precision


@pytest.mark.parametrize("device", ["cpu", torch.device("cpu")])
def test_devices_are_resolved_by_name(device):
    assert resolve_device(device) == torch.device("cpu")


@pytest.fixture
def accelerator(monkeypatch):
    """Return a function that replaces the accelerator of this machine."""

    def replace(name):
        device = None if name is None else torch.device(name)
        for attribute, value in (
            ("is_available", device is not None),
            ("current_accelerator", device),
            ("device_count", 2),
        ):
            monkeypatch.setattr(torch.accelerator, attribute, lambda value=value: value)

    return replace


@pytest.mark.parametrize("name", ["meta", None])
def test_none_is_the_best_available_device(accelerator, name):
    accelerator(name)
    assert resolve_device(None) == torch.device(name or "cpu")


@pytest.mark.parametrize("device", ["nonsense", "cuda:99", "meta", "mps:7"])
def test_the_error_for_a_missing_device_is_one_sentence(device):
    with pytest.raises(ValueError, match="'device' parameter must name") as info:
        resolve_device(device)
    message = str(info.value)
    assert message.endswith(f"or be None, got {device!r}.")
    assert "'cpu'" in message
    assert "\n" not in message
    assert len(message) < 120


def test_the_error_for_a_missing_device_names_the_accelerators(accelerator):
    accelerator("xpu")
    with pytest.raises(ValueError, match=r"\('cpu', 'xpu:0', 'xpu:1'\)"):
        resolve_device("nonsense")


@pytest.mark.parametrize("supported", [True, False])
def test_auto_precision_is_native_to_the_gpu(supported, monkeypatch):
    def is_supported(including_emulation):
        return supported and not including_emulation

    monkeypatch.setattr(torch.cuda, "is_bf16_supported", is_supported)
    dtype = resolve_precision("auto", torch.device("cuda"))
    assert dtype == (torch.bfloat16 if supported else torch.float32)
    assert resolve_precision("auto", torch.device("cpu")) == torch.float32


def test_bfloat16_needs_automatic_casts():
    message = "precision='bfloat16' needs .* but device is 'meta'. Use 'float32'."
    with pytest.raises(ValueError, match=message):
        resolve_precision("bfloat16", torch.device("meta"))


def test_data_may_take_half_of_the_free_memory_of_a_gpu(monkeypatch):
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (1000, 5000))
    assert fits_on(500, torch.device("cuda"))
    assert not fits_on(501, torch.device("cuda"))
