"""YOLO: the assigner against loops, the losses against their formulas, and a network that learns."""

import itertools

import pytest
import torch
from torch import Tensor
from torchvision.ops import box_iou, complete_box_iou_loss

import lantu
from lantu.models.yolo import YOLO
from lantu.models.yolo_assignment import assign, distribution_loss, grid_of, overlaps


@pytest.fixture
def scene() -> dict[str, Tensor]:
    """Two pictures of 64×64 pixels: three objects and one; points, and boxes predicted around them."""
    random = torch.Generator().manual_seed(0)
    points = grid_of([torch.zeros(1, 1, 64 // stride, 64 // stride) for stride in (8, 16, 32)])
    count = len(points.centres)
    reach = 4 + 16 * torch.rand(2, count, 4, generator=random)
    found = torch.cat([points.centres - reach[..., :2], points.centres + reach[..., 2:]], dim=-1)
    boxes = torch.tensor(
        [[[4.0, 4, 40, 36], [20, 10, 60, 60], [57.0, 5, 59, 7]], [[10, 10, 50, 50], [0, 0, 0, 0], [0, 0, 0, 0]]]
    )
    labels = torch.tensor([[0, 1, 1], [2, -1, -1]])
    return {
        "scores": torch.rand(2, count, 3, generator=random), "found": found, "centres": points.centres,
        "boxes": boxes, "labels": labels,
    }  # fmt: skip


def test_points_are_assigned_as_a_loop_over_pictures_and_objects_assigns_them(scene: dict[str, Tensor]) -> None:
    topk, reach = 4, 4.0
    answer = assign(*scene.values(), topk=topk, reach=reach)
    for picture in range(2):
        real = [row for row, label in enumerate(scene["labels"][picture]) if label >= 0]
        found, boxes = scene["found"][picture], scene["boxes"][picture]
        claims: dict[int, list[tuple[float, int, float]]] = {}  # of a point: IoU, object, alignment
        for row in real:
            x1, y1, x2, y2 = boxes[row].tolist()
            inside = [
                number
                for number, (x, y) in enumerate(scene["centres"].tolist())
                if abs(x - (x1 + x2) / 2) <= max(reach, (x2 - x1) / 2)
                and abs(y - (y1 + y2) / 2) <= max(reach, (y2 - y1) / 2)
            ]
            iou = box_iou(boxes[row : row + 1], found)[0]
            aligned = scene["scores"][picture, :, scene["labels"][picture, row]] * iou**6
            for number in sorted(inside, key=lambda each: -float(aligned[each]))[:topk]:
                claims.setdefault(number, []).append((float(iou[number]), row, float(aligned[number])))
        won = {number: max(each) for number, each in claims.items()}
        assert set(answer.there[picture].nonzero()[:, 0].tolist()) == set(won)
        for number, (_, row, aligned_here) in won.items():
            mine = [each for each in won.values() if each[1] == row]
            best_iou, best_aligned = max(each[0] for each in mine), max(each[2] for each in mine)
            assert answer.objects[picture, number] == row
            assert answer.labels[picture, number] == scene["labels"][picture, row]
            assert float(answer.quality[picture, number]) == pytest.approx(aligned_here / best_aligned * best_iou)
    assert not answer.quality[~answer.there].any()


def test_an_object_smaller_than_a_cell_has_a_point(scene: dict[str, Tensor]) -> None:
    answer = assign(*scene.values())
    assert (answer.there[0] & (answer.objects[0] == 2)).any()


def test_pictures_without_objects_are_assigned_nothing(scene: dict[str, Tensor]) -> None:
    for nothing in (scene["labels"] * 0 - 1, torch.zeros(2, 0, dtype=torch.long)):
        boxes = scene["boxes"][:, : nothing.shape[1]]
        answer = assign(scene["scores"], scene["found"], scene["centres"], boxes, nothing)
        assert not answer.there.any()
        assert not answer.quality.any()


def test_overlaps_are_those_of_torchvision(scene: dict[str, Tensor]) -> None:
    expected = torch.stack([box_iou(*pair) for pair in zip(scene["boxes"], scene["found"], strict=True)])
    torch.testing.assert_close(overlaps(scene["boxes"], scene["found"]), expected)


def test_the_loss_of_a_distance_is_the_cross_entropy_with_the_two_bins_beside_it() -> None:
    logits = torch.tensor([[[0.1, 0.7, -0.3, 0.2]] * 4], dtype=torch.float64, requires_grad=True)
    distances = torch.tensor([[0.0, 1.25, 2.5, 9.0]], dtype=torch.float64)
    chances = logits.detach()[0, 0].softmax(dim=0).log()
    expected = [
        -chances[0], -(0.75 * chances[1] + 0.25 * chances[2]), -(0.5 * chances[2] + 0.5 * chances[3]),
        -(0.01 * chances[2] + 0.99 * chances[3]),  # beyond the last bin: just below it
    ]  # fmt: skip
    assert float(distribution_loss(logits, distances).detach()) == pytest.approx(float(sum(expected).detach() / 4))
    assert torch.autograd.gradcheck(lambda each: distribution_loss(each, distances), (logits,))


def test_the_box_part_of_the_loss_is_torchvisions_ciou_weighted_by_quality() -> None:
    torch.manual_seed(0)
    net = YOLO(3, 2, width_factor=0.125, class_weight=0, bins_weight=0, box_weight=1).eval()
    x = torch.randn(1, 3, 64, 64)
    boxes, labels = torch.tensor([[[8.0, 8, 40, 48]]]), torch.tensor([[1]])
    answer = net(x, boxes, labels)
    assert answer.losses is not None
    points = grid_of([torch.zeros(1, 1, 64 // stride, 64 // stride) for stride in (8, 16, 32)])
    chosen = assign(answer.scores, answer.boxes, points.centres, boxes, labels, topk=10)
    there = chosen.there[0]
    ciou = complete_box_iou_loss(answer.boxes[0, there], boxes[0].expand(int(there.sum()), -1))
    weight = chosen.quality[0, there]
    torch.testing.assert_close(answer.losses["box"], (ciou * weight).sum() / weight.sum().clamp(min=1))
    answer.losses["box"].backward()
    moved = [name for name, each in net.named_parameters() if each.grad is not None and each.grad.abs().sum() > 0]
    assert any("box_branches" in name for name in moved)
    assert not any("class_branches" in name for name in moved)


def test_it_learns_two_pictures_by_heart() -> None:
    torch.manual_seed(0)
    x = torch.zeros(2, 3, 64, 64)
    boxes = torch.tensor([[[6.0, 8, 30, 40], [34.0, 30, 62, 60]], [[20.0, 20, 52, 44], [0, 0, 0, 0]]])
    labels = torch.tensor([[0, 1], [1, -1]])
    for picture, box, label in [(0, 0, 0), (0, 1, 1), (1, 0, 1)]:
        x1, y1, x2, y2 = boxes[picture, box].int().tolist()
        x[picture, label, y1:y2, x1:x2] = 2.0
    net = YOLO(3, 2, width_factor=0.125)
    optimizer = torch.optim.AdamW(net.parameters(), lr=4e-3)
    for _ in range(80):
        losses = net(x, boxes, labels).losses
        optimizer.zero_grad()
        sum(losses.values()).backward()
        optimizer.step()
    answer = net.eval()(x)
    for picture, row in itertools.product(range(2), range(2)):
        if (label := labels[picture, row]) >= 0:
            iou = box_iou(boxes[picture, row : row + 1], answer.boxes[picture])[0]
            best = iou.argmax()
            assert iou[best] > 0.8
            hits = (iou > 0.7) & (answer.scores[picture].argmax(dim=1) == label)
            assert answer.scores[picture, hits, label].max() > 0.6
        nowhere = box_iou(boxes[picture, labels[picture] >= 0], answer.boxes[picture]).amax(dim=0) < 0.1
        assert answer.scores[picture, nowhere].max() < 0.3


def test_sizes_are_chosen_by_two_numbers() -> None:
    sizes = [
        sum(each.numel() for each in YOLO(3, 80, depth_factor=depth, width_factor=width).parameters())
        for depth, width in ((0.33, 0.25), (0.33, 0.5), (0.67, 0.75), (1.0, 1.0))
    ]
    assert sizes == sorted(sizes)
    assert sizes[0] < 4e6 < sizes[-1]


def test_a_separable_head_has_few_weights_and_the_same_shapes() -> None:
    x = torch.zeros(1, 3, 64, 64)
    heads = [YOLO(3, 2, separable=separable).eval() for separable in (False, True)]
    whole, separable = ([each.numel() for each in net.head.parameters()] for net in heads)
    assert sum(separable) < sum(whole) / 3
    assert all(
        len({tuple(part.shape) for part in pair}) == 1 for pair in zip(heads[0](x)[:2], heads[1](x)[:2], strict=True)
    )


def test_pictures_that_cannot_be_halved_five_times_are_refused() -> None:
    with pytest.raises(lantu.UserError, match="multiples of 32"):
        YOLO(3, 2, width_factor=0.125)(torch.zeros(1, 3, 64, 50))
