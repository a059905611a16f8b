import os
import sqlite3
import subprocess
import sys
import textwrap

import numpy as np
import pytest
import torch
from PIL import Image

from rdistill_helpers.embed import black_box
from rdistill_helpers.embed.black_box import BlackBoxTeacher, image_key
from rdistill_helpers.errors import BadInput, BudgetExceeded


def photos(count, seed=0):
    return torch.randint(0, 256, (count, 3, 6, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(seed))


def as_pil(pixels):
    return [Image.fromarray(image.permute(1, 2, 0).numpy()) for image in pixels]


def described(pixels):
    return torch.nn.functional.normalize(pixels.float().mean(dim=(2, 3)))


class Asked:
    """An embedding function that remembers the images it was sent."""

    def __init__(self):
        self.images = []

    def __call__(self, batch):
        if isinstance(batch, list):
            self.images += batch
            batch = torch.stack([torch.from_numpy(np.array(image)).permute(2, 0, 1) for image in batch])
        else:
            self.images += list(batch)
        return described(batch)


@pytest.fixture
def ledger(tmp_path):
    return tmp_path / "ledgers" / "teacher.sqlite"


def test_an_image_is_paid_once_ever(ledger):
    asked = Asked()
    images = photos(10)
    with BlackBoxTeacher(asked, budget=20, ledger=ledger, name="colours", batch_size=4) as teacher:
        assert (teacher.spent, teacher.left, teacher.dim) == (0, 20, None)
        first = teacher.query(images, progress=False)
        assert (teacher.spent, teacher.left, teacher.dim) == (10, 10, 3)
        assert teacher.query(images[[3, 1]], progress=False).equal(first[[3, 1]])
    torch.testing.assert_close(first, described(images))
    with BlackBoxTeacher(asked, budget=20, ledger=ledger, name="colours") as restarted:
        assert (restarted.spent, restarted.left, restarted.dim) == (10, 10, 3)
        assert restarted.query(images, progress=False).equal(first)
        assert restarted.query(torch.cat([images, photos(2, seed=1)]), progress=False)[:10].equal(first)
        assert restarted.spent == 12
    assert len(asked.images) == 12


def test_the_same_image_in_one_call_is_sent_once(ledger):
    asked = Asked()
    images = photos(3)[[0, 1, 0, 2, 1, 0]]
    with BlackBoxTeacher(asked, budget=3, ledger=ledger, name="colours", batch_size=2) as teacher:
        rows = teacher.query(images, progress=False)
        assert (teacher.spent, teacher.left) == (3, 0)
    assert len(asked.images) == 3
    torch.testing.assert_close(rows, described(images))


def test_equal_pixels_are_one_image_as_tensor_as_pil_and_as_file(ledger, tmp_path):
    asked = Asked()
    images = photos(2)
    as_pil(images)[0].save(tmp_path / "one.png")
    with BlackBoxTeacher(asked, budget=2, ledger=ledger, name="colours") as teacher:
        rows = teacher.query(images, progress=False)
        assert teacher.query(as_pil(images), progress=False).equal(rows)
        assert teacher.query([tmp_path / "one.png"], progress=False).equal(rows[:1])
    assert len(asked.images) == 2


def test_a_list_is_sent_as_rgb_images_of_their_own_sizes(ledger):
    asked = Asked()
    images = [Image.new("L", (5, 4), 90), Image.new("RGB", (5, 4), (1, 2, 3))]
    with BlackBoxTeacher(asked, budget=5, ledger=ledger, name="colours") as teacher:
        teacher.query(images, progress=False)
    assert [(image.mode, image.size) for image in asked.images] == [("RGB", (5, 4))] * 2


def test_keys_tell_shape_and_pixels_apart():
    image = photos(1)[0]
    other = image.clone()
    other[0, 0, 0] ^= 1
    assert len({image_key(image), image_key(other), image_key(image.reshape(3, 8, 6))}) == 3
    assert image_key(image) == image_key(image.to(memory_format=torch.preserve_format).clone())
    assert image_key(image) == image_key(image.permute(1, 2, 0).contiguous().permute(2, 0, 1))


def test_a_call_beyond_the_budget_spends_nothing(ledger):
    asked = Asked()
    images = photos(8)
    with BlackBoxTeacher(asked, budget=5, ledger=ledger, name="colours", batch_size=2) as teacher:
        teacher.query(images[:3], progress=False)
        with pytest.raises(BudgetExceeded, match=r"about 5 of these .* the 2 left of its budget of 5"):
            teacher.query(images, progress=False)
        assert teacher.spent == 3
        assert len(asked.images) == 3
        assert teacher.query(images[:5], progress=False).shape == (5, 3)
        assert teacher.left == 0
        assert teacher.query(images[:5], progress=False).shape == (5, 3)


def test_a_smaller_budget_than_already_spent_leaves_nothing_but_what_is_paid(ledger):
    with BlackBoxTeacher(Asked(), budget=5, ledger=ledger, name="colours") as teacher:
        teacher.query(photos(4), progress=False)
    with BlackBoxTeacher(Asked(), budget=2, ledger=ledger, name="colours") as teacher:
        assert teacher.left == 0
        assert len(teacher.query(photos(4), progress=False)) == 4
        with pytest.raises(BudgetExceeded):
            teacher.query(photos(1, seed=1), progress=False)


def test_a_failure_keeps_finished_batches_and_charges_none_of_the_unfinished(ledger):
    batches = []

    def fails_on_the_second(batch):
        batches.append(len(batch))
        if len(batches) == 2:
            raise ConnectionError("the line is dead")
        return described(batch)

    images = photos(9)
    with BlackBoxTeacher(fails_on_the_second, budget=9, ledger=ledger, name="colours", batch_size=4) as teacher:
        with pytest.raises(ConnectionError):
            teacher.query(images, progress=False)
        assert teacher.spent == 4
        rows = teacher.query(images, progress=False)
        assert teacher.spent == 9
    assert batches == [4, 4, 4, 1]
    torch.testing.assert_close(rows, described(images))


@pytest.mark.slow
def test_a_process_killed_in_the_middle_leaves_a_whole_ledger(ledger):
    program = f"""
        import os, torch
        from rdistill_helpers.embed.black_box import BlackBoxTeacher
        asked = []
        def embed(batch):
            asked.append(batch)
            if len(asked) == 2:
                os._exit(9)
            return torch.nn.functional.normalize(batch.float().mean(dim=(2, 3)))
        images = torch.randint(0, 256, (9, 3, 6, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
        BlackBoxTeacher(embed, budget=9, ledger={str(ledger)!r}, name="colours", batch_size=4).query(images, progress=False)
    """
    run = subprocess.run([sys.executable, "-c", textwrap.dedent(program)], env={**os.environ, "OMP_NUM_THREADS": "1"})
    assert run.returncode == 9
    asked = Asked()
    with BlackBoxTeacher(asked, budget=9, ledger=ledger, name="colours") as teacher:
        assert teacher.spent == 4
        torch.testing.assert_close(teacher.query(photos(9), progress=False), described(photos(9)))
    assert len(asked.images) == 5


def test_what_another_session_pays_for_meanwhile_is_not_paid_twice(ledger, monkeypatch):
    images = photos(4)
    with BlackBoxTeacher(Asked(), budget=4, ledger=ledger, name="colours") as other:
        asked, bar = Asked(), black_box.tqdm

        def meanwhile(*arguments, **settings):  # called where the budget was looked at and nothing was asked yet
            monkeypatch.setattr(black_box, "tqdm", bar)
            other.query(images[:3], progress=False)
            return bar(*arguments, **settings)

        with BlackBoxTeacher(asked, budget=4, ledger=ledger, name="colours") as teacher:
            monkeypatch.setattr(black_box, "tqdm", meanwhile)
            torch.testing.assert_close(teacher.query(images, progress=False), described(images))
            assert teacher.spent == 4
    assert len(asked.images) == 1


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_answers_of_a_reduced_type_are_kept_with_length_1(ledger, dtype):
    def reduced(batch):
        rows = torch.randn(len(batch), 37, generator=torch.Generator().manual_seed(len(batch))).to(dtype)
        return rows / rows.norm(dim=1, keepdim=True)

    images = photos(50)
    with BlackBoxTeacher(reduced, budget=50, ledger=ledger, name="colours") as teacher:
        rows = teacher.query(images, progress=False)
        assert teacher.spent == 50
    assert rows.dtype == torch.float32
    torch.testing.assert_close(rows.norm(dim=1), torch.ones(50), rtol=0, atol=1e-6)
    torch.testing.assert_close(rows, reduced(images).float(), rtol=1e-2, atol=0)


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (lambda rows: rows.fill_(float("nan")), "NaN"),
        (lambda rows: rows * 2, "not L2-normalised"),
        (lambda rows: torch.nn.functional.normalize(torch.ones(len(rows), 5)), "5 dimensions where 3"),
        (lambda rows: rows[:-1], "2 images with 1 descriptors"),
        (lambda rows: rows[0], "must have the shape"),
        (lambda rows: "no", "not an array of numbers"),
        (lambda rows: None, "not an array of numbers"),
    ],
)
def test_an_answer_that_cannot_be_used_is_refused_and_not_charged(ledger, answer, message):
    with BlackBoxTeacher(Asked(), budget=9, ledger=ledger, name="colours") as teacher:
        teacher.query(photos(3), progress=False)
    with BlackBoxTeacher(lambda batch: answer(described(batch)), budget=9, ledger=ledger, name="colours") as teacher:
        with pytest.raises(BadInput, match=message):
            teacher.query(photos(2, seed=1), progress=False)
        assert (teacher.spent, teacher.dim) == (3, 3)


def test_rows_may_come_as_numpy_or_with_a_gradient(ledger):
    with BlackBoxTeacher(
        lambda batch: described(batch).double().numpy(), budget=9, ledger=ledger, name="colours"
    ) as teacher:
        assert teacher.query(photos(2), progress=False).dtype == torch.float32
    layer = torch.nn.Linear(3, 3)
    with BlackBoxTeacher(
        lambda batch: torch.nn.functional.normalize(layer(described(batch))), budget=9, ledger=ledger, name="colours"
    ) as teacher:
        assert not teacher.query(photos(2, seed=1), progress=False).requires_grad


def test_ledger_of_another_teacher_is_refused_and_stays_as_it_is(ledger):
    images = photos(3)
    with BlackBoxTeacher(Asked(), budget=3, ledger=ledger, name="teacher 0ld") as teacher:
        paid = teacher.query(images, progress=False)
    before, asked = ledger.read_bytes(), Asked()
    with pytest.raises(BadInput, match="made by the teacher 'teacher 0ld', not by 'teacher n3w'.*its own") as refused:
        BlackBoxTeacher(asked, budget=9, ledger=ledger, name="teacher n3w")
    assert "\n" not in str(refused.value)
    assert not asked.images and ledger.read_bytes() == before
    with BlackBoxTeacher(asked, budget=3, ledger=ledger, name="teacher 0ld") as teacher:
        assert teacher.query(images, progress=False).equal(paid)
    assert not asked.images


def test_no_teacher_goes_without_a_name_lest_two_share_a_ledger(ledger):
    with pytest.raises(TypeError, match="name"):
        BlackBoxTeacher(Asked(), budget=1, ledger=ledger)
    assert not ledger.exists()


def test_photographs_that_were_made_anew_are_other_images_and_what_was_paid_stays(ledger):
    first, again = photos(4), photos(4, seed=1)  # one edition of the photographs and the next
    with BlackBoxTeacher(Asked(), budget=4, ledger=ledger, name="colours") as teacher:
        paid = teacher.query(first, progress=False)
    asked = Asked()
    with BlackBoxTeacher(asked, budget=4, ledger=ledger, name="colours") as teacher:
        with pytest.raises(
            BudgetExceeded, match=r"4 of these images, more than the 0 left of its budget of 4"
        ) as refused:
            teacher.query(again, progress=False)
        assert "\n" not in str(refused.value)
        assert (teacher.spent, asked.images) == (4, [])
        assert teacher.query(first, progress=False).equal(paid)
    with BlackBoxTeacher(asked, budget=8, ledger=ledger, name="colours") as teacher:
        torch.testing.assert_close(teacher.query(again, progress=False), described(again))
        assert (teacher.spent, len(asked.images)) == (8, 4)


def test_damaged_ledger_is_refused(ledger):
    ledger.parent.mkdir()
    ledger.write_bytes(b"this is no database, but long enough to look like one" * 100)
    with pytest.raises(BadInput, match="damaged"):
        BlackBoxTeacher(Asked(), budget=1, ledger=ledger, name="colours")


def test_ledger_cut_off_is_refused(ledger):
    with BlackBoxTeacher(Asked(), budget=900, ledger=ledger, name="colours", batch_size=900) as teacher:
        teacher.query(photos(900), progress=False)
    whole = ledger.read_bytes()
    ledger.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(BadInput, match="damaged"):
        BlackBoxTeacher(Asked(), budget=900, ledger=ledger, name="colours")


def test_descriptor_cut_off_in_the_ledger_is_refused(ledger):
    with BlackBoxTeacher(Asked(), budget=3, ledger=ledger, name="colours") as teacher:
        teacher.query(photos(3), progress=False)
        database = sqlite3.connect(ledger)
        with database:
            database.execute("UPDATE paid SET row = x'00000000'")
        database.close()
        with pytest.raises(BadInput, match="damaged"):
            teacher.query(photos(3), progress=False)


def test_database_of_something_else_is_left_alone(ledger):
    ledger.parent.mkdir()
    other = sqlite3.connect(ledger)
    other.execute("CREATE TABLE addresses (name TEXT)")
    other.commit()
    other.close()
    before = ledger.read_bytes()
    with pytest.raises(BadInput, match="something else"):
        BlackBoxTeacher(Asked(), budget=1, ledger=ledger, name="colours")
    assert ledger.read_bytes() == before


def test_folder_as_ledger_is_refused(tmp_path):
    with pytest.raises(BadInput, match="cannot be opened"):
        BlackBoxTeacher(Asked(), budget=1, ledger=tmp_path, name="colours")


def test_closed_teacher_says_so(ledger):
    teacher = BlackBoxTeacher(Asked(), budget=1, ledger=ledger, name="colours")
    teacher.close()
    with pytest.raises(BadInput, match="open a new BlackBoxTeacher"):
        teacher.query(photos(1), progress=False)


@pytest.mark.parametrize("budget", [0, -3])
def test_budget_below_one_is_refused(ledger, budget):
    with pytest.raises(BadInput, match="budget of at least 1"):
        BlackBoxTeacher(Asked(), budget=budget, ledger=ledger, name="colours")
    assert not ledger.exists()


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (photos(2).float(), "uint8"),
        (photos(2)[:, :1], "uint8"),
        (photos(0), "no images"),
        ([], "no images"),
        ("photo.jpg", "put it into a list"),
    ],
)
def test_what_cannot_be_asked_is_refused(ledger, images, message):
    with BlackBoxTeacher(Asked(), budget=9, ledger=ledger, name="colours") as teacher:
        with pytest.raises(BadInput, match=message):
            teacher.query(images, progress=False)
        assert teacher.spent == 0
