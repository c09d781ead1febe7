import pytest
import torch

from sktreevae.devices import resolve_device


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
