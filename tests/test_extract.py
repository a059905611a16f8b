import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from rdistill_helpers.data.images import to_tensor
from rdistill_helpers.embed.black_box import BlackBoxTeacher
from rdistill_helpers.embed.extract import extract, recommended_scales
from rdistill_helpers.embed.network import RetrievalNet
from rdistill_helpers.errors import BadInput, DataMissing


def photos(count, height=40, width=56, seed=0):
    return torch.randint(
        0, 256, (count, 3, height, width), dtype=torch.uint8, generator=torch.Generator().manual_seed(seed)
    )


def as_pil(pixels):
    return [Image.fromarray(image.permute(1, 2, 0).numpy()) for image in pixels]


@pytest.fixture(scope="module")
def net():
    return RetrievalNet("squeezenet1_1").eval()


class MeanColours(nn.Module):
    """A network without parameters whose descriptors can be worked out by hand."""

    def forward(self, images):
        return nn.functional.normalize(images.mean(dim=(2, 3)))


def test_rows_are_those_of_one_image_at_a_time(net):
    images = photos(7)
    rows = extract(net, images, batch_size=3, progress=False)
    assert rows.dtype == torch.float32
    assert rows.shape == (7, 512)
    with torch.no_grad():
        for row, image in zip(rows, images, strict=True):
            torch.testing.assert_close(row, net(image[None] / 255.0)[0], rtol=1e-4, atol=1e-5)


def test_lengths_are_one(net):
    assert (extract(net, photos(3), scales=(1, 0.8), progress=False).norm(dim=1) - 1).abs().max() < 1e-5


def test_order_is_kept_when_sizes_are_mixed(net, tmp_path):
    wide, tall = photos(5), photos(4, 56, 40, seed=1)
    odd = photos(1, 48, 48, seed=2)
    mixed = [image for pair in zip(as_pil(wide), as_pil(tall), strict=False) for image in pair]
    mixed += [*as_pil(odd), as_pil(wide)[4]]
    mixed[1].save(tmp_path / "one.png")
    mixed[1] = tmp_path / "one.png"
    mixed[2].save(tmp_path / "two.png")
    mixed[2] = str(tmp_path / "two.png")
    rows = extract(net, mixed, batch_size=2, progress=False)
    torch.testing.assert_close(rows[[0, 2, 4, 6, 9]], extract(net, wide, progress=False), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(rows[[1, 3, 5, 7]], extract(net, tall, progress=False), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(rows[[8]], extract(net, odd, progress=False), rtol=1e-4, atol=1e-5)


def test_images_of_many_sizes_do_not_pile_up():
    read = []

    class Reads:
        """A sequence that records how far it was read."""

        def __len__(self):
            return 40

        def __getitem__(self, index):
            if index >= 40:
                raise IndexError
            read.append(index)
            return Image.new("RGB", (30 + index, 30), (index, 9, 9))

    class Watching(MeanColours):
        most_waiting, described = 0, 0

        def forward(self, images):
            self.most_waiting = max(self.most_waiting, len(read) - self.described)
            self.described += len(images)
            return super().forward(images)

    watching = Watching()
    rows = extract(watching, Reads(), batch_size=2, progress=False)
    assert watching.most_waiting <= 8
    red = torch.tensor([[index, 9.0, 9.0] for index in range(40)])
    torch.testing.assert_close(rows, nn.functional.normalize(red))


def resized_in_loops(image, scale):
    """Bilinear resize of [3, H, W] by a factor, pixel centres at half integers, written out."""
    channels, height, width = image.shape
    out = np.zeros((channels, int(height * scale), int(width * scale)))
    for y in range(out.shape[1]):
        for x in range(out.shape[2]):
            from_y = min(max((y + 0.5) / scale - 0.5, 0), height - 1)
            from_x = min(max((x + 0.5) / scale - 0.5, 0), width - 1)
            top, left = int(from_y), int(from_x)
            down, right = min(top + 1, height - 1), min(left + 1, width - 1)
            dy, dx = from_y - top, from_x - left
            out[:, y, x] = (
                image[:, top, left] * (1 - dy) * (1 - dx)
                + image[:, top, right] * (1 - dy) * dx
                + image[:, down, left] * dy * (1 - dx)
                + image[:, down, right] * dy * dx
            )
    return torch.from_numpy(out).float()


@pytest.mark.parametrize("dim", [None, 16])
def test_several_scales_equal_a_slow_computation(dim):
    net = RetrievalNet("squeezenet1_1", dim=dim).eval()
    with torch.no_grad():
        net.pool.p.fill_(2.3)
    scales = (1, 2**-0.5, 1.25)
    images = photos(2, 48, 56)
    # GeM's own descriptors are averaged with GeM's p; whitened ones may be negative and get the plain mean.
    power = 2.3 if dim is None else 1.0
    expected = []
    for image in images:
        values = np.zeros(net.dim)
        for scale in scales:
            with torch.no_grad():
                row = net(resized_in_loops(image.numpy() / 255.0, scale)[None])[0]
            values += row.double().numpy() ** power
        values = (values / len(scales)) ** (1 / power)
        expected.append(values / np.sqrt((values**2).sum()))
    rows = extract(net, images, scales=scales, progress=False)
    np.testing.assert_allclose(rows.numpy(), np.array(expected), rtol=2e-3, atol=2e-5)


def test_several_scales_with_a_large_exponent_are_the_largest_of_each(net):
    net = RetrievalNet("squeezenet1_1").eval()
    with torch.no_grad():
        net.pool.p.fill_(300.0)
    images = photos(2, 64, 80)
    one, other = (extract(net, images, scales=[scale], progress=False) for scale in (1, 0.5))
    expected = torch.nn.functional.normalize(torch.maximum(one, other))
    torch.testing.assert_close(extract(net, images, scales=[1, 0.5], progress=False), expected, rtol=1e-2, atol=1e-4)


@pytest.mark.parametrize("settings", [{"dim": 32}, {"pooling": "mac"}, {"pooling": "spoc"}, {"pooling": "rmac"}, {}])
def test_descriptors_of_reduced_products_have_length_1(settings):
    net, images = RetrievalNet("squeezenet1_1", **settings).eval(), photos(4, 64, 80)
    with torch.autocast("cpu", torch.bfloat16):
        found = extract(net, images, progress=False)
        trained = net(images / 255)
    for rows in (found, trained):
        assert rows.dtype == torch.float32
        torch.testing.assert_close(rows.norm(dim=1), torch.ones(4), rtol=0, atol=1e-5)
    full = extract(net, images, progress=False)
    assert (found * full).sum(1).min() > 0.99
    reduced = extract(net.to(torch.bfloat16), images, progress=False)  # weights of a reduced type
    assert reduced.dtype == torch.float32 and (reduced * full).sum(1).min() > 0.99


def test_a_network_that_normalises_in_a_reduced_type_gets_length_1():
    class Reduced(MeanColours):
        def forward(self, images):
            rows = super().forward(images).to(torch.bfloat16)
            return rows / rows.norm(dim=1, keepdim=True)

    rows = extract(Reduced(), photos(40), progress=False)
    torch.testing.assert_close(rows.norm(dim=1), torch.ones(40), rtol=0, atol=1e-6)


@pytest.mark.parametrize(("width", "height"), [(16, 16), (12, 14), (1, 1), (1, 300), (16, 200)])
def test_images_too_small_for_the_network_are_padded_to_its_least_size(width, height):
    net = RetrievalNet("squeezenet1_1").eval()
    image = Image.effect_noise((width, height), 80).convert("RGB")
    pixels = np.asarray(image)
    above, left = max(0, 17 - height) // 2, max(0, 17 - width) // 2
    padding = ((above, max(0, 17 - height) - above), (left, max(0, 17 - width) - left), (0, 0))
    padded = Image.fromarray(np.pad(pixels, padding, mode="edge"))
    assert min(padded.size) >= 17
    found = extract(net, [image, padded], progress=False)
    torch.testing.assert_close(found[0], found[1], rtol=1e-4, atol=1e-6)
    several = extract(net, [image], scales=[1, 0.5, 0.01], progress=False)
    assert several.isfinite().all() and several.norm() == pytest.approx(1, abs=1e-5)


def test_one_other_scale_is_that_scale_alone(net):
    images = photos(2, 64, 80)
    smaller = nn.functional.interpolate(images / 255.0, scale_factor=0.5, mode="bilinear")
    with torch.no_grad():
        expected = net(smaller)
    torch.testing.assert_close(extract(net, images, scales=[0.5], progress=False), expected, rtol=1e-3, atol=1e-5)


def test_every_module_gets_its_own_mode_back():
    net = RetrievalNet("resnet18", weights=None).train()
    frozen = [module for module in net.modules() if isinstance(module, nn.BatchNorm2d)]
    for module in frozen:
        module.eval()
    before = {name: value.clone() for name, value in net.state_dict().items()}
    extract(net, photos(2), progress=False)
    assert net.training
    assert net.pool.training
    assert not any(module.training for module in frozen)
    assert all(value.equal(before[name]) for name, value in net.state_dict().items())


def test_mode_comes_back_after_a_failure():
    class Fails(nn.Module):
        def forward(self, images):
            raise RuntimeError("out of memory")

    net = Fails().train()
    with pytest.raises(RuntimeError, match="out of memory"):
        extract(net, photos(2), progress=False)
    assert net.training


def test_rows_can_meet_a_gradient_later(net):
    rows = extract(net, photos(2), progress=False)
    weight = torch.ones(512, requires_grad=True)
    (rows * weight).sum().backward()
    assert weight.grad is not None


def test_any_module_is_a_network():
    rows = extract(MeanColours(), photos(3), progress=False)
    torch.testing.assert_close(rows, nn.functional.normalize(photos(3).float().mean(dim=(2, 3))), rtol=1e-4, atol=1e-5)


def test_descriptor_that_is_not_finite_names_its_image(tmp_path):
    class BreaksOnDark(nn.Module):
        def forward(self, images):
            return images.mean(dim=(2, 3)).log().add(10)

    images = as_pil(photos(3)) + [Image.new("RGB", (56, 40))]
    images[3].save(tmp_path / "dark.png")
    images[3] = tmp_path / "dark.png"
    with pytest.raises(BadInput, match=r"not finite for image 3 \(.*dark.png\)"):
        extract(BreaksOnDark(), images, progress=False)


@pytest.mark.parametrize(
    ("images", "settings", "message"),
    [
        (photos(2).float(), {}, "uint8 images"),
        (photos(2)[:, :1], {}, "uint8 images"),
        (photos(1)[0], {}, "uint8 images"),
        ([], {}, "no images"),
        (photos(0), {}, "no images"),
        ("photo.jpg", {}, "put it into a list"),
        (photos(2), {"scales": ()}, "scales"),
        (photos(2), {"scales": (1, 0)}, "scales"),
        (photos(2), {"batch_size": 0}, "batch size"),
    ],
)
def test_what_cannot_be_extracted_is_refused(images, settings, message):
    with pytest.raises(BadInput, match=message):
        extract(MeanColours(), images, progress=False, **settings)


def test_missing_photograph_is_named(tmp_path):
    with pytest.raises(DataMissing, match="gone.jpg"):
        extract(MeanColours(), [tmp_path / "gone.jpg"], progress=False)


def test_network_that_gives_no_rows_is_refused():
    with pytest.raises(BadInput, match="one descriptor each"):
        extract(nn.Identity(), photos(2), progress=False)


def test_recommended_scales_are_those_of_the_published_figures():
    assert recommended_scales(RetrievalNet("resnet18", weights=None)) == (1, 2**-0.5, 0.5)
    assert recommended_scales(RetrievalNet("resnet18", weights=None, dim=16)) == (1, 2**0.5, 2**-0.5)
    assert recommended_scales(MeanColours()) == (1, 2**-0.5, 0.5)


@pytest.mark.parametrize(
    "wrong",
    [
        lambda all: (image for image in all),
        set,
        lambda all: dict(enumerate(all)),
        lambda all: np.zeros((2, 8, 8, 3), np.uint8),
    ],
)
def test_what_is_no_list_of_images_is_named(wrong, tmp_path):
    images = [tmp_path / "a.png", tmp_path / "b.png"]
    with pytest.raises(
        BadInput, match=r"extract takes a tensor or a list of images, but got a (generator|set|dict|ndarray)"
    ):
        extract(torch.nn.Flatten(), wrong(images))
    with pytest.raises(BadInput, match="A teacher is asked with a tensor or a list"):
        BlackBoxTeacher(torch.nn.Flatten(), 2, tmp_path / "ledger.sqlite", "flat").query(wrong(images))


def test_images_may_come_from_a_generator_where_they_are_stacked():
    assert to_tensor(Image.new("RGB", (4, 3)) for _ in range(2)).shape == (2, 3, 3, 4)
