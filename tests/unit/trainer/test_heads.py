import torch

from tests import trainees
from trainer import heads


def inputs(model):
    """Random activations of three pairs, two of them padded."""
    torch.manual_seed(3)
    states = torch.randn(3, 7, model.encoder.config.hidden_size)
    mask = torch.tensor([[1] * 7, [1] * 4 + [0] * 3, [1] * 2 + [0] * 5])
    return states, mask


def test_the_cheap_last_layer_is_the_last_layer():
    model = trainees.reranker()

    with torch.no_grad():
        cheap, whole = (
            head(*inputs(model))
            for head in (lambda *x: heads.pair_logits(model.encoder, *x), model.encoder.head)
        )

    # The same sums in another order, in single precision.
    assert torch.allclose(cheap, whole, atol=1e-4)


def test_its_gradients_are_the_same():
    model = trainees.reranker()

    def gradients(logits):
        model.zero_grad()
        torch.autograd.backward(logits.square().sum())
        return {
            name: torch.zeros_like(each) if each.grad is None else each.grad.clone()
            for name, each in model.named_parameters()
        }

    cheap = gradients(heads.pair_logits(model.encoder, *inputs(model)))
    whole = gradients(model.encoder.head(*inputs(model)))

    # A key bias moves no softmax: its gradient is none in one, and a rounding error in the other.
    assert all(torch.allclose(cheap[name], whole[name], atol=1e-3) for name in whole)


def test_what_is_padded_changes_nothing():
    model = trainees.reranker()
    states, mask = inputs(model)
    noisy = torch.where(mask[..., None] == 1, states, 100.0)

    with torch.no_grad():
        clean, dirty = (heads.pair_logits(model.encoder, each, mask) for each in (states, noisy))

    assert torch.allclose(clean, dirty)
