import pytest
import torch

from sktreevae.devices import has_room, resolve_device, resolve_precision


@pytest.mark.parametrize("device", ["cpu", torch.device("cpu")])
def test_devices_are_what_they_are_called(device):
    assert resolve_device(device) == torch.device("cpu")


def test_none_is_the_best_there_is(monkeypatch):
    def found(check_available):
        return torch.device("meta")

    monkeypatch.setattr(torch.accelerator, "current_accelerator", found)
    assert resolve_device(None) == torch.device("meta")
    monkeypatch.setattr(
        torch.accelerator, "current_accelerator", lambda check_available: None
    )
    assert resolve_device(None) == torch.device("cpu")


@pytest.mark.parametrize("supported", [True, False])
def test_auto_precision_is_what_a_gpu_is_made_for(supported, monkeypatch):
    def is_supported(including_emulation):
        return supported and not including_emulation

    monkeypatch.setattr(torch.cuda, "is_bf16_supported", is_supported)
    found = resolve_precision("auto", torch.device("cuda"))
    assert found == (torch.bfloat16 if supported else torch.float32)
    assert resolve_precision("auto", torch.device("cpu")) == torch.float32


@pytest.mark.parametrize("name", ["float32", "bfloat16"])
def test_a_precision_can_be_asked_for(name):
    assert resolve_precision(name, torch.device("cpu")) == getattr(torch, name)


def test_bfloat16_needs_automatic_casts():
    message = "precision='bfloat16' needs .* but device is 'meta'. Use 'float32'."
    with pytest.raises(ValueError, match=message):
        resolve_precision("bfloat16", torch.device("meta"))


def test_data_may_take_half_of_what_is_free_on_a_gpu(monkeypatch):
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (1000, 5000))
    assert has_room(500, torch.device("cuda"))
    assert not has_room(501, torch.device("cuda"))


@pytest.mark.parametrize("device", [None, torch.device("cpu")])
def test_there_is_room_where_the_data_are_already(device):
    assert has_room(1 << 60, device)
