"""Rotary positions and root-mean-square norms in few passes give what their definitions say, forward and back."""

import pytest
import torch
from torch.nn import functional as F

from lamina.nets import _attention, _rotary, bert, gpt, transformer
from lamina.nets._attention import SelfAttention
from lamina.nets._rotary import RMSNorm, turned, turned_from_start, turning


def both(found, told, over, grad):
    """The value and the gradients of two ways, as pairs."""
    return [(found, told), *zip(*(torch.autograd.grad(y, over, grad) for y in (found, told)), strict=True)]


@pytest.mark.parametrize("kind,off", [(torch.float32, 1e-6), (torch.bfloat16, 0.006)])
@pytest.mark.parametrize("shape", [(2, 3, 5, 8), (1, 1, 1, 2), (2, 1, 130, 6)])
def test_turning_all_places_is_turning_each(shape, kind, off):
    x = torch.randn(2, *shape).to(kind)[1].requires_grad_()
    cosine, sine = turning(shape[2], shape[3])
    for found, told in both(turned_from_start(x).float(), turned(x.float(), cosine, sine), (x,), torch.randn(shape)):
        assert (found - told).norm() <= off * told.norm()


def test_turning_keeps_what_two_places_are_to_each_other():
    """The product of a query and a key hangs on how far they are apart alone (Su 2021, eq. 11)."""
    q, k = (torch.randn(8, requires_grad=True).expand(1, 1, 20, 8) for _ in range(2))
    score = (turned_from_start(q) @ turned_from_start(k).transpose(2, 3))[0, 0]
    for apart in (0, 3, 11):
        along = score.diagonal(apart)
        assert torch.allclose(along, along[:1].expand_as(along), atol=1e-4)
    assert (score.diagonal(3) - score.diagonal(-3)[0]).abs().max() > 1e-3


def test_queries_that_do_not_lie_in_order_are_turned_alike():
    attention = SelfAttention(16, 2)
    x = torch.randn(3, 7, 16)
    query = attention.parts(x)[0]
    assert not query.is_contiguous()
    assert torch.allclose(turned_from_start(query), turned(query, *turning(7, 8)), atol=1e-5)


@pytest.mark.parametrize("shape", [(4, 9, 12), (5, 3), (1, 1)])
def test_rms_norms_are_those_of_torch(shape):
    x, norm = torch.randn(shape, requires_grad=True), RMSNorm(shape[-1], 1e-6)
    torch.nn.init.normal_(norm.weight)
    plain = F.rms_norm(x, shape[-1:], norm.weight, 1e-6)
    for found, told in both(norm(x), plain, (x, norm.weight), torch.randn(shape)):
        assert torch.allclose(found, told, atol=1e-5, rtol=1e-4)


def test_a_gradient_that_does_not_lie_in_order_counts_alike():
    norm, x = RMSNorm(6), torch.randn(2, 4, 6, requires_grad=True)
    norm(x).transpose(1, 2).square().sum().backward()
    found, x.grad = x.grad, None
    F.rms_norm(x, (6,), norm.weight, norm.eps).square().sum().backward()
    assert torch.allclose(found, x.grad, atol=1e-5)


def test_learning_and_writing_see_the_same_places():
    """In training all places are turned at once, in writing those after what was seen, gradients or none."""
    torch.manual_seed(3)
    net = gpt.Net(gpt.Config(vocabulary=11, length=12, width=16, heads=2, depth=2))
    tokens = torch.randint(11, (2, 9))
    learning = net(tokens)
    state = net.start()
    pieces = [net.go_on(tokens[:, :4], state), *(net.go_on(tokens[:, i : i + 1], state) for i in range(4, 9))]
    assert torch.allclose(learning, torch.cat(pieces, 1), atol=1e-5)


@pytest.mark.parametrize("style", gpt.STYLES)
def test_what_writing_made_serves_learning(style):
    """Masks and angles are kept between calls: those first made without autograd's record must allow gradients."""
    for kept in (_attention._hidden, _rotary._angles, _rotary._shares):
        kept.cache_clear()
    net = gpt.Net(gpt.Config(vocabulary=11, length=12, width=16, heads=2, depth=1, style=style))
    tokens = torch.randint(11, (2, 9))

    def written():
        state = net.start()
        return [net.go_on(part, state) for part in (tokens[:, :4], tokens[:, 4:6], tokens[:, 6:])]

    with torch.inference_mode():
        first = written()
    again = written()
    assert torch.allclose(torch.cat(first, 1), torch.cat(again, 1), atol=1e-6)
    again[-1].sum().backward()
    net(tokens).sum().backward()
    assert all(p.grad is not None for p in net.parameters())


@pytest.mark.parametrize("rotary", [True, False])
@pytest.mark.parametrize("module", [bert, transformer])
def test_texts_are_read_in_their_order_by_rotary_positions_alone(module, rotary):
    """Without learned places the mean over all tokens tells a text from its reverse only where queries and keys are turned."""
    torch.manual_seed(4)
    net = module.Net(module.Config(vocabulary=30, context=16, width=16, heads=2, depth=1, rotary=rotary)).eval()
    for name, weight in net.named_parameters():
        torch.nn.init.zeros_(weight) if name.endswith("place") else torch.nn.init.normal_(weight)
    tokens = torch.arange(4, 14)[None]
    off = (net(tokens) - net(tokens.flip(1))).abs().max()
    assert off > 0.01 if rotary else off < 1e-4
