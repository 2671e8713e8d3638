"""The cross entropy of tokens: torch's own value and gradient, whatever is ignored, smoothed or cut into parts."""

import pytest
import torch
from torch.nn import functional as F

from lamina.tasks import _nats
from lamina.tasks._nats import mean_nats


@pytest.mark.parametrize("few", [10, 100])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize(("kind", "close"), [(torch.float32, 1e-6), (torch.bfloat16, 1e-2)])
def test_value_and_gradient_are_those_of_torch(kind, close, smoothing, few, monkeypatch):
    monkeypatch.setattr(_nats, "AT_ONCE", 1000)  # 27 rows of 37
    monkeypatch.setattr(_nats, "FEW", few)
    random = torch.Generator().manual_seed(0)
    logits = (4 * torch.randn(101, 37, generator=random)).to(kind)
    target = torch.randint(37, (101,), generator=random)
    target[::7] = -1
    ends = []
    for own in (True, False):
        z = logits.clone().requires_grad_()
        if own:
            loss = mean_nats(z, target, -1, smoothing)
        else:
            loss = F.cross_entropy(z.float(), target, ignore_index=-1, label_smoothing=smoothing)
        (3 * loss).backward()
        ends.append((loss.detach(), z.grad.float() if z.grad is not None else None))
    assert ends[0][0].dtype == torch.float32
    assert ends[0][0].item() == pytest.approx(ends[1][0].item(), rel=1e-6)
    assert torch.allclose(ends[0][1], ends[1][1], atol=close * ends[1][1].abs().max().item())
    assert mean_nats(logits.float(), target, -1, smoothing).item() == pytest.approx(
        ends[1][0].item(), rel=1e-6
    )  # nothing learns


@pytest.mark.parametrize("few", [2, 100])
@pytest.mark.parametrize("learns", [True, False])
def test_where_all_is_ignored_nothing_is_learned(learns, few, monkeypatch):
    monkeypatch.setattr(_nats, "FEW", few)
    z = torch.randn(4, 5, requires_grad=learns)
    loss = mean_nats(z, torch.full((4,), -1), -1)
    assert loss.item() == 0
    if learns:
        loss.backward()
        assert z.grad is not None and not z.grad.any()
