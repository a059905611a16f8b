"""Teachers of timm and transformers: small random networks of their families from local files, nothing is fetched."""

import builtins
import json

import numpy as np
import pytest
import timm
import torch
import transformers as hf
from PIL import Image
from safetensors.torch import save_file

from rdistill_helpers.embed.black_box import BlackBoxTeacher
from rdistill_helpers.embed.hub import timm_teacher, transformers_teacher
from rdistill_helpers.errors import BadInput, DataMissing

WIDE = 32
TINY = {"hidden_size": WIDE, "num_hidden_layers": 2, "num_attention_heads": 2}
VISION = {**TINY, "intermediate_size": 64, "image_size": 64, "patch_size": 16}
TEXT = {**TINY, "intermediate_size": 64, "vocab_size": 50, "bos_token_id": 0, "eos_token_id": 1}
SQUARE, EDGE = {"height": 64, "width": 64}, {"shortest_edge": 64}
# Each family with its own image processor, as published; what it answers by itself, and the tokens in front of its patches.
FAMILIES = {
    "dinov2": (
        lambda: hf.Dinov2Model(hf.Dinov2Config(**TINY, image_size=56, patch_size=14)),
        lambda: hf.BitImageProcessor(size=EDGE, crop_size={"height": 56, "width": 56}), WIDE, 1,
    ),
    "dinov3": (
        lambda: hf.DINOv3ViTModel(hf.DINOv3ViTConfig(**VISION, num_register_tokens=4)),
        lambda: hf.DINOv3ViTImageProcessor(size=SQUARE), WIDE, 5,
    ),
    "siglip": (
        lambda: hf.SiglipModel(hf.SiglipConfig(vision_config=VISION, text_config=TEXT)),
        lambda: hf.SiglipImageProcessor(size=SQUARE), WIDE, 0,
    ),
    "clip": (
        lambda: hf.CLIPModel(hf.CLIPConfig(vision_config=VISION, text_config=TEXT, projection_dim=24)),
        lambda: hf.CLIPImageProcessor(size=EDGE, crop_size=SQUARE), 24, 1,
    ),
}  # fmt: skip


def photos(count=3, seed=0):
    return torch.randint(0, 256, (count, 3, 70, 90), dtype=torch.uint8, generator=torch.Generator().manual_seed(seed))


def as_pil(pixels):
    return [Image.fromarray(image.permute(1, 2, 0).numpy()) for image in pixels]


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    made = {}
    for name, (model, processor, *_) in FAMILIES.items():
        torch.manual_seed(0)
        made[name] = tmp_path_factory.mktemp(name)
        model().save_pretrained(made[name])
        processor().save_pretrained(made[name])
    return made


@pytest.fixture(autouse=True)
def offline(monkeypatch):
    """The hub is not there, and is not waited for."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)


def pooled_by_hand(tokens, pooling, prefix):
    """One photograph, one channel, one token after another."""
    rows = []
    for one in tokens.double().tolist():
        channels = list(zip(*one, strict=True))
        if pooling == "cls":
            row = [channel[0] for channel in channels]
        elif pooling == "mean":
            row = [sum(channel[prefix:]) / len(channel[prefix:]) for channel in channels]
        else:
            row = [np.mean([max(value, 1e-6) ** 3 for value in channel[prefix:]]) ** (1 / 3) for channel in channels]
        rows.append(np.array(row) / np.linalg.norm(row))
    return torch.tensor(np.stack(rows)).float()


@pytest.mark.parametrize("family", FAMILIES)
def test_each_family_answers_with_its_own_pooling(folders, family):
    _, _, dim, _ = FAMILIES[family]
    rows = transformers_teacher(folders[family])(photos())
    assert rows.shape == (3, dim) and rows.dtype == torch.float32
    model, processor = hf.AutoModel.from_pretrained(folders[family]).eval(), FAMILIES[family][1]()
    with torch.no_grad():
        inputs = processor(images=as_pil(photos()), return_tensors="pt")
        if family == "clip":
            own = model.visual_projection(model.vision_model(**inputs).pooler_output)
        elif family == "siglip":
            own = model.vision_model.head(model.vision_model(**inputs).last_hidden_state)
        else:
            own = model(**inputs).last_hidden_state[:, 0]
    torch.testing.assert_close(rows, torch.nn.functional.normalize(own), atol=1e-4, rtol=1e-3)


@pytest.mark.parametrize("pooling", ["cls", "mean", "gem"])
@pytest.mark.parametrize("family", FAMILIES)
def test_each_family_is_pooled_as_a_loop_over_its_tokens_would(folders, family, pooling):
    _, processor, _, prefix = FAMILIES[family]
    if family == "siglip" and pooling == "cls":
        with pytest.raises(BadInput, match="no class token"):
            transformers_teacher(folders[family], pooling)
        return
    model = hf.AutoModel.from_pretrained(folders[family]).eval()
    with torch.no_grad():
        vision = getattr(model, "vision_model", model)
        tokens = vision(**processor()(images=as_pil(photos()), return_tensors="pt")).last_hidden_state
    assert tokens.shape[1] == prefix + 16  # 4 x 4 patches
    rows = transformers_teacher(folders[family], pooling)(photos())
    torch.testing.assert_close(rows, pooled_by_hand(tokens, pooling, prefix), atol=1e-4, rtol=1e-3)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_teacher_of_transformers_is_asked_and_paid_like_any(folders, family, tmp_path):
    teacher = transformers_teacher(str(folders[family]))
    with BlackBoxTeacher(teacher, budget=4, ledger=tmp_path / "ledger.sqlite", name=family, batch_size=3) as black_box:
        rows = black_box.query(photos(4), progress=False)
        assert (black_box.spent, black_box.dim) == (4, FAMILIES[family][2])
        assert black_box.query(as_pil(photos(4)), progress=False).equal(rows)
    torch.testing.assert_close(teacher(as_pil(photos(4))), rows)
    alone = torch.cat([teacher(photos(4)[i : i + 1]) for i in range(4)])
    torch.testing.assert_close(alone, rows, atol=1e-4, rtol=1e-3)


# A class token; registers alone; attention pooling; rotary positions; maps with channels first, and last.
NETWORKS = ("test_vit", "test_vit2", "test_vit3", "vit_tiny_patch16_dinov3_qkvb", "test_resnet", "test_mambaout")


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory):
    made = {}
    for name in NETWORKS:
        torch.manual_seed(0)
        made[name] = tmp_path_factory.mktemp("timm") / f"{name}.safetensors"
        save_file(timm.create_model(name, pretrained=False).state_dict(), made[name])
    return made


@pytest.mark.parametrize("pooling", ["own", "cls", "mean", "gem"])
@pytest.mark.parametrize("name", NETWORKS)
def test_networks_of_timm_are_pooled_as_a_loop_over_their_tokens_would(checkpoints, name, pooling):
    model = timm.create_model(name, pretrained=False, checkpoint_path=checkpoints[name]).eval()
    if pooling == "cls" and getattr(model, "cls_token", None) is None:
        with pytest.raises(BadInput, match="no class token"):
            timm_teacher(name, pooling, weights=checkpoints[name])
        return
    prepare = timm.data.create_transform(**timm.data.resolve_model_data_config(model))
    with torch.no_grad():
        tokens = model.forward_features(torch.stack([prepare(image) for image in as_pil(photos())]))
        own = model.forward_head(tokens, pre_logits=True)
    if tokens.ndim == 4:
        tokens = tokens.flatten(1, 2) if name == "test_mambaout" else tokens.flatten(2).transpose(1, 2)
    expected = (
        torch.nn.functional.normalize(own)
        if pooling == "own"
        else pooled_by_hand(tokens, pooling, getattr(model, "num_prefix_tokens", 0))
    )
    rows = timm_teacher(name, pooling, weights=checkpoints[name])(photos())
    torch.testing.assert_close(rows, expected, atol=1e-4, rtol=1e-3)


def test_a_teacher_of_timm_is_asked_and_paid_like_any(checkpoints, tmp_path):
    teacher = timm_teacher("test_vit", weights=checkpoints["test_vit"])
    with BlackBoxTeacher(teacher, budget=4, ledger=tmp_path / "ledger.sqlite", name="vit", batch_size=3) as black_box:
        rows = black_box.query(as_pil(photos(4)), progress=False)
        assert (black_box.spent, black_box.dim) == (4, 64)
        assert black_box.query(photos(4), progress=False).equal(rows)


def test_a_model_of_timm_needs_a_known_name_and_weights_that_fit(checkpoints, tmp_path):
    cases = [
        ({"name": "vit_smal_patch14_dinov2"}, BadInput, "no model 'vit_smal"),
        ({"name": "vit_small_patch14_dinov2.nothing"}, BadInput, "nothing"),
        ({"name": "test_vit", "pooling": "max"}, BadInput, "'max' is not known: choose one of own, cls"),
        ({"name": "test_vit"}, BadInput, "cannot be had.*weights=PATH"),
        ({"name": "test_vit", "weights": checkpoints["test_vit2"]}, BadInput, "does not fit"),
        ({"name": "test_vit", "weights": tmp_path / "none.pth"}, DataMissing, "none.pth"),
    ]
    for settings, kind, told in cases:
        with pytest.raises(kind, match=told) as caught:
            timm_teacher(**settings)
        assert "\n" not in str(caught.value)


def test_a_model_of_transformers_needs_a_whole_folder_or_the_hub(folders, tmp_path):
    without_processor, without_model, code = tmp_path / "p", tmp_path / "m", tmp_path / "c"
    FAMILIES["dinov2"][0]().save_pretrained(without_processor)
    FAMILIES["dinov2"][1]().save_pretrained(without_model)
    FAMILIES["dinov2"][1]().save_pretrained(code)
    own = {"model_type": "mine", "auto_map": {"AutoConfig": "evil.Config", "AutoModel": "evil.Model"}}
    (code / "config.json").write_text(json.dumps(own))
    (code / "evil.py").write_text("raise SystemExit('code of a model was run')")
    (tmp_path / "empty").mkdir()
    for name in (
        tmp_path / "empty",
        without_processor,
        without_model,
        code,
        tmp_path / "nothing",
        "facebook/dinov2-small",
    ):
        with pytest.raises(BadInput, match="transformers cannot load.*save_pretrained") as caught:
            transformers_teacher(name)
        assert "\n" not in str(caught.value)
    with pytest.raises(BadInput, match="'max' is not known"):
        transformers_teacher(folders["dinov2"], "max")


def test_a_network_without_tokens_says_which_pooling_it_has(tmp_path):
    config = hf.ResNetConfig(embedding_size=8, hidden_sizes=[8, 16], depths=[1, 1])
    hf.ResNetModel(config).save_pretrained(tmp_path)
    hf.ConvNextImageProcessor(size=EDGE).save_pretrained(tmp_path)
    assert transformers_teacher(tmp_path)(photos()).shape == (3, 16)
    with pytest.raises(BadInput, match="no tokens of patches.*'own'"):
        transformers_teacher(tmp_path, "mean")


def test_a_network_without_a_pooling_of_its_own_says_so(tmp_path):
    hf.ViTMAEModel(hf.ViTMAEConfig(**VISION, mask_ratio=0.0)).save_pretrained(tmp_path)
    hf.ViTImageProcessor(size=SQUARE).save_pretrained(tmp_path)
    with pytest.raises(BadInput, match="no pooling of its own.*'mean'"):
        transformers_teacher(tmp_path)
    assert transformers_teacher(tmp_path, "mean")(photos()).shape == (3, WIDE)


def test_no_pooling_is_made_of_weights_that_were_never_published(tmp_path):
    torch.manual_seed(0)
    hf.ViTForImageClassification(hf.ViTConfig(**VISION)).save_pretrained(tmp_path)
    hf.ViTImageProcessor(size=SQUARE).save_pretrained(tmp_path)
    with pytest.raises(BadInput, match="no weights of pooler.*'cls'"):
        transformers_teacher(tmp_path)
    assert transformers_teacher(tmp_path, "cls")(photos()).equal(transformers_teacher(tmp_path, "cls")(photos()))


def test_without_transformers_the_extra_is_named(monkeypatch):
    real = builtins.__import__

    def missing(name, *arguments, **settings):
        if name == "transformers":
            raise ImportError(name)
        return real(name, *arguments, **settings)

    monkeypatch.setattr(builtins, "__import__", missing)
    with pytest.raises(BadInput, match="not installed.*teachers"):
        transformers_teacher("facebook/dinov2-small")
