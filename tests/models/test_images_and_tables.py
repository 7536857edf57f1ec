"""Linear, MLP, CNN, Upscale and the timm networks of the catalogue."""

import pytest
import timm
import torch
from torch import nn

from lantu.errors import UserError
from lantu.models import CNN, MLP, Linear, Upscale
from lantu.models.cnn import GridMeans


@pytest.mark.parametrize("make", [lambda: Linear(48, 5), lambda: MLP(48, 5), lambda: MLP(48, 5, hidden=[])])
def test_tables_and_images_of_the_same_numbers_get_the_same_answer(make):
    net = make()
    image = torch.randn(7, 3, 4, 4)
    torch.testing.assert_close(net(image), net(image.flatten(1)))
    assert net(image).shape == (7, 5)


@pytest.mark.parametrize(("channels", "size"), [(1, (4, 4)), (1, (8, 8)), (3, (28, 28)), (2, (5, 37))])
@pytest.mark.parametrize("widths", [(8, 16), (8, 8, 8, 8, 8)])
def test_cnn_takes_any_image_from_4_pixels_and_any_depth(channels, size, widths):
    net = CNN(channels, 6, widths=widths)
    assert net(torch.randn(2, channels, *size)).shape == (2, 6)


@pytest.mark.parametrize(
    "net",
    [
        Linear(64, 3),
        MLP(64, 3, norm="layer", activation="gelu", dropout=0.2),
        MLP(64, 3, norm="batch"),
        CNN(1, 3, widths=(8, 12)),
        CNN(1, 3, widths=(8, 12), norm="group", activation="silu"),
        CNN(1, 3, widths=(8, 12), norm=None, convolutions=1, pool=1, dropout=0.5),
    ],
    ids=lambda net: type(net).__name__,
)
def test_gradient_reaches_every_parameter(net):
    torch.manual_seed(0)
    net(torch.randn(16, 1, 8, 8)).square().sum().backward()
    for name, parameter in net.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().sum() > 0, name


@pytest.mark.parametrize(("channels", "pixels"), [(1, 8), (3, 8), (1, 28), (3, 28)])
def test_resnet_takes_small_images_of_any_channels(channels, pixels):
    net = Upscale(timm.create_model("resnet18", in_chans=channels, num_classes=4), min_size=32)
    assert net(torch.randn(2, channels, pixels, pixels)).shape == (2, 4)


@pytest.mark.parametrize(("channels", "pixels"), [(1, 8), (3, 28)])
def test_inception_takes_small_images_of_any_channels_and_answers_one_tensor_in_training(channels, pixels):
    inner = timm.create_model("inception_v3", in_chans=channels, num_classes=4, aux_logits=False)
    assert Upscale(inner, min_size=75)(torch.randn(2, channels, pixels, pixels)).shape == (2, 4)


def test_upscale_keeps_proportions_and_leaves_large_images_alone():
    net = Upscale(nn.Identity(), min_size=16)
    assert net(torch.randn(1, 1, 8, 12)).shape == (1, 1, 16, 24)
    large = torch.randn(1, 1, 16, 99)
    assert net(large) is large
    torch.testing.assert_close(net(torch.full((1, 1, 4, 4), 3.0)), torch.full((1, 1, 16, 16), 3.0))


def test_a_wrong_activation_is_refused_with_the_list():
    with pytest.raises(UserError, match=r"model\.activation=rellu.*There are: relu"):
        MLP(4, 2, activation="rellu")


@pytest.mark.parametrize(
    "make",
    [
        lambda: MLP(4, 2, norm="group"),
        lambda: CNN(1, 2, norm="layer"),
        lambda: CNN(1, 2, widths=[]),
        lambda: MLP(4, 2, dropout=1.5),
    ],
)
def test_wrong_options_are_refused(make):
    with pytest.raises(UserError, match="model"):
        make()


@pytest.mark.parametrize(("height", "width", "side"), [(2, 2, 2), (7, 4, 2), (5, 9, 3), (1, 3, 2)])
def test_means_in_a_fixed_order_are_torchs_means(height, width, side):
    x = torch.randn(2, 3, height, width)
    pool = GridMeans(side)
    torch.testing.assert_close(pool.by_products(x), pool(x))
