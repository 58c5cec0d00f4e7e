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
    trained = [p for p in model.last_layer_parameters() if p.requires_grad]

    def gradients(logits):
        found = torch.autograd.grad(logits.square().sum(), trained, allow_unused=True)
        return [None if each is None else each.clone() for each in found]

    cheap = gradients(heads.pair_logits(model.encoder, *inputs(model)))
    whole = gradients(model.encoder.head(*inputs(model)))

    for one, other in zip(cheap, whole, strict=True):
        # A key bias moves no softmax: it has no gradient here and a rounding error there.
        expected = torch.zeros(1) if other is None else other
        assert torch.allclose(torch.zeros(1) if one is None else one, expected, atol=1e-3)


def test_what_is_padded_changes_nothing():
    model = trainees.reranker()
    states, mask = inputs(model)
    noisy = torch.where(mask[..., None] == 1, states, 100.0)

    with torch.no_grad():
        clean, dirty = (heads.pair_logits(model.encoder, each, mask) for each in (states, noisy))

    assert torch.allclose(clean, dirty)
