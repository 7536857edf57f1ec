"""The convolutional network for spoken words against a reference written out by loops."""

import pytest
import torch
from torch.nn.functional import conv2d

import lantu
from lantu.models import SpeechCNN


@pytest.mark.parametrize("limited_sharing", [False, True])
def test_pooling_is_the_largest_answer_of_neighbouring_bands(limited_sharing: bool) -> None:
    torch.manual_seed(0)
    net = SpeechCNN(2, 20, 3, filters=4, band_filter=5, context=3, pool=3, limited_sharing=limited_sharing).eval()
    x = torch.randn(2, 2, 20, 11)
    pooled = net.pooled(x).unflatten(1, (4, net.groups))
    for group in range(net.groups):
        own = slice(4 * group, 4 * group + 4) if limited_sharing else slice(None)
        weight, bias = net.first.weight[own], net.first.bias[own]  # type: ignore[index]
        answers = [
            conv2d(x[:, :, first : first + 5], weight, bias, stride=(1, 2), padding=(0, 1)).squeeze(2)
            for first in range(3 * group, 3 * group + 3)
        ]
        torch.testing.assert_close(pooled[:, :, group], torch.stack(answers).amax(0))


def test_any_number_of_frames_gives_one_answer() -> None:
    net = SpeechCNN(1, 40, 10).eval()
    assert net(torch.randn(2, 1, 40, 7)).shape == net(torch.randn(2, 1, 40, 300)).shape == (2, 10)


def test_too_few_bands_are_refused_in_a_sentence() -> None:
    with pytest.raises(lantu.UserError, match="with 8 mel bands there are only 1 positions to pool"):
        SpeechCNN(1, 8, 10, band_filter=8, pool=3)
