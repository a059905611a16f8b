"""A GPU gives what the processor gives. `make gpu` runs this file where there is one; all it needs is the repository."""

from unittest.mock import Mock

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from benchmarks.scoring_at_scale import make_benchmark
from rdistill_helpers import Mixtures, RetrievalNet, Training, distill, evaluate, extract, search
from rdistill_helpers.memory import moved

gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU here: `make gpu` on a machine that has one")
DEVICES = ["cpu", pytest.param("cuda", marks=gpu)]
QUERIES, OWN, DIM = 6, 400, 64


@pytest.fixture
def whole_float32():
    """Convolutions without TensorFloat-32, which rounds to three digits."""
    before = torch.backends.cudnn.allow_tf32
    torch.backends.cudnn.allow_tf32 = False
    yield
    torch.backends.cudnn.allow_tf32 = before


def photographs(count):
    return torch.randint(256, (count, 3, 64, 96), dtype=torch.uint8, generator=torch.Generator().manual_seed(count))


def student(seed=0):
    torch.manual_seed(seed)
    return RetrievalNet("squeezenet1_1", weights=None)


def descriptors(count, seed):
    return F.normalize(torch.randn(count, DIM, generator=torch.Generator().manual_seed(seed)), dim=1)


def well_separated(count):
    """Queries, and descriptors in random order whose similarities to each query differ by 7e-5 at least."""
    generator = torch.Generator().manual_seed(0)
    turned = torch.linalg.qr(torch.randn(DIM, DIM, generator=generator)).Q[:2]
    angles = torch.cat([-0.1 - 0.05 * torch.arange(QUERIES), torch.linspace(0.3, 1.2, count)])
    rows = F.normalize(torch.stack([angles.cos(), angles.sin()], 1) @ turned, dim=1)
    return rows[:QUERIES], rows[QUERIES:][torch.randperm(count, generator=generator)]


@gpu
@pytest.mark.parametrize("scales", [(1,), (1, 0.5)])
def test_extract_describes_as_the_processor_does(whole_float32, scales):
    images = photographs(70)
    there = extract(student(), images, scales, progress=False, device="cuda")
    torch.testing.assert_close(there, extract(student(), images, scales, progress=False), rtol=0, atol=1e-4)
    assert there.device.type == "cpu"


@gpu
@pytest.mark.parametrize("mixtures", [None, Mixtures(), Mixtures(count=8, mix_at=9)], ids=["none", "rows", "maps"])
def test_ten_steps_have_the_losses_of_the_processor(whole_float32, mixtures):
    images, teacher_rows = photographs(60), descriptors(60, seed=0)
    losses = []
    for device in ("cpu", "cuda"):
        training = Training(steps=10, device=device, progress=False)
        trained, history = distill(student(), images, teacher_rows, mixtures=mixtures, training=training)
        assert next(trained.parameters()).device.type == device
        losses.append(history.loss)
    assert losses[1] == pytest.approx(losses[0], abs=1e-3)


@gpu
def test_autocast_trains():
    training = Training(steps=10, device="cuda", autocast=torch.bfloat16, progress=False)
    _, history = distill(student(), photographs(60), descriptors(60, seed=0), training=training)
    assert np.isfinite(history.loss).all()


@pytest.mark.parametrize("device", DEVICES)
def test_evaluate_on_a_device_gives_the_ranks_of_the_processor(device):
    queries, database = well_separated(5000)
    benchmark = make_benchmark(QUERIES, OWN)
    for distractors in (database[OWN:], database[OWN:].numpy()):
        expected, found = (
            evaluate(queries, database[:OWN], benchmark, distractors=distractors, device=where)
            for where in (None, device)
        )
        for protocol in ("easy", "medium", "hard"):
            assert getattr(found, protocol).ap.tolist() == getattr(expected, protocol).ap.tolist()


@pytest.mark.parametrize("device", DEVICES)
def test_search_on_a_device_finds_the_neighbours_of_the_processor(device):
    queries, database = well_separated(5000)
    similarities, positions = search(queries, database, 10, device=device)
    expected = search(queries, database, 10)
    torch.testing.assert_close(similarities, expected[0], rtol=0, atol=1e-6)
    assert positions.tolist() == expected[1].tolist()


@pytest.mark.parametrize("device", DEVICES)
def test_products_are_whole_float32_whatever_precision_is_set(device):
    """TensorFloat-32 and bfloat16 would move similarities by 1e-3; the setting is the caller's afterwards."""
    queries, database = descriptors(QUERIES, seed=1), descriptors(3000, seed=2)
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("medium")
    try:
        similarities, positions = search(queries, database, 10, device=device)
        assert torch.get_float32_matmul_precision() == "medium"
    finally:
        torch.set_float32_matmul_precision(before)
    exact = (queries.double() @ database.double().T).gather(1, positions)
    torch.testing.assert_close(similarities.double(), exact, rtol=0, atol=1e-6)


def test_a_tensor_goes_to_a_gpu_through_pinned_memory_and_elsewhere_at_once():
    values = Mock(device=torch.device("cpu"))
    there = moved(values, torch.device("cuda"))
    assert there is values.pin_memory.return_value.to.return_value
    values.pin_memory.return_value.to.assert_called_once_with(torch.device("cuda"), non_blocking=True)
    here = torch.ones(3)
    assert moved(here, torch.device("cpu")) is here


@gpu
def test_a_tensor_arrives_with_its_values_and_its_layout():
    images = torch.rand(4, 3, 5, 6).contiguous(memory_format=torch.channels_last)
    there = moved(images, torch.device("cuda"))
    torch.testing.assert_close(there.cpu(), images)
    assert there.is_contiguous(memory_format=torch.channels_last)
