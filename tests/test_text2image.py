"""Text to image: the step against a loop by hand, mismatched captions, the vocabulary, inference, the runs."""

from __future__ import annotations

import copy
import json
import logging
import sys
import types
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from command import i2i_command
from i2i_text2image.encoder import CharacterEncoder, SentenceEncoder, Vocabulary, WordEncoder, pretrained
from i2i_text2image.fixed import LAYERS, seen
from i2i_text2image.matcher import MatchingEncoder, TextMatching
from i2i_text2image.matching import contrastive, matching_penalty, mismatched
from i2i_text2image.networks import DFGANDiscriminator, DFGANGenerator
from i2i_text2image.projected import TextProjectedDiscriminator
from i2i_text2image.projection import TextGenerator, TextProjectionDiscriminator
from i2i_text2image.stackgan import (
    ConditioningAugmentation,
    StackGANDiscriminator,
    StackGANGenerator,
    StackGANRefiner,
)
from i2i_text2image.task import Text2Image
from i2i_text2image.text import to_codes
from torch import Tensor, nn
from torch.nn.functional import cosine_similarity, cross_entropy, interpolate, relu

import i2i
from i2i import ConfigError, DataError, api, checkpoint, cli
from i2i.config import Train
from i2i.engine import Engine, seed_everything
from i2i.losses import WGANGP, Hinge, Vanilla
from i2i.optim import adam
from i2i.runs import summary
from i2i.testing import check_network, check_task

ROOT = Path(__file__).parent.parent
CAPTIONS = ("a red circle", "a blue star", "two red circles", "a red circle", "a green box below a star", "a star")


def codes(*captions: str) -> Tensor:
    return torch.stack([to_codes(caption) for caption in captions])


def batch(size: int = 8, seed: int = 0) -> dict[str, Tensor]:
    image = torch.rand(len(CAPTIONS), 3, size, size, generator=torch.Generator().manual_seed(seed)) * 2 - 1
    return {"image": image, "text": codes(*CAPTIONS)}


def made(kind: str = "projection", **options: Any) -> Text2Image:
    """Return a small task for pictures of 8 px (32 px of StackGAN)."""
    torch.manual_seed(0)
    encoder = partial(WordEncoder, words=20, embedding=4, width=6)
    given: dict[str, Any] = {"latent": 3, "size": 8}
    if kind == "projection":
        networks = partial(TextGenerator, width=4), partial(TextProjectionDiscriminator, width=4, shared=5)
        given |= {"gan": Hinge, "lambda_match": 1.0}
    elif kind == "df_gan":
        networks = partial(DFGANGenerator, width=4), partial(DFGANDiscriminator, width=4)  # type: ignore[assignment]
        given |= {"gan": Hinge, "lambda_gradient": 2.0}
    else:
        networks = partial(StackGANGenerator, width=4), partial(StackGANDiscriminator, width=4)  # type: ignore[assignment]
        given |= {"gan": partial(Vanilla, lambda_d=1.0), "augmentation": partial(ConditioningAugmentation, width=5)}
        given |= {"refiner": partial(StackGANRefiner, width=4, blocks=1), "size": 32}
        given |= {"refiner_discriminator": partial(StackGANDiscriminator, width=4, unconditional=True)}
    return Text2Image(*networks, encoder, **(given | options))


def parameters(*modules: nn.Module) -> int:
    return sum(p.numel() for module in modules for p in module.parameters())


# ---- networks


@pytest.mark.parametrize(("size", "g", "d"), [(64, 4_868_867, 3_210_820), (256, 9_744_131, 6_619_206)])
def test_df_gan_has_the_published_parameter_counts(size: int, g: int, d: int) -> None:
    with torch.device("meta"):
        generator, discriminator = DFGANGenerator(3, size, 100, 256), DFGANDiscriminator(3, size, 256)
    assert parameters(generator) == g
    assert parameters(discriminator.head) == 295_936
    assert parameters(discriminator) == d + 295_936


def test_stackgan_has_the_published_parameter_counts() -> None:
    with torch.device("meta"):
        stage_1 = ConditioningAugmentation(1024), StackGANGenerator(3, 64, 100, 128)
        stage_2 = ConditioningAugmentation(1024), StackGANRefiner(3, 128)
        assert parameters(*stage_1) == 20_020_832
        assert parameters(*stage_1, *stage_2) == 57_151_312
        assert parameters(StackGANDiscriminator(3, 64, 128)) == 12_407_425
        assert parameters(StackGANDiscriminator(3, 256, 128, unconditional=True)) == 159_889_538


@pytest.mark.parametrize("kind", [TextGenerator, DFGANGenerator, StackGANGenerator])
def test_generators_fulfil_the_contract(kind: Any) -> None:
    torch.manual_seed(0)
    check_network(kind(3, 16, 5, 6, width=4), torch.randn(3, 5), torch.randn(3, 6), shape=(3, 3, 16, 16))


@pytest.mark.parametrize(
    "kind",
    [
        TextProjectionDiscriminator,
        partial(TextProjectedDiscriminator, network="random_conv", head=5),
        DFGANDiscriminator,
        StackGANDiscriminator,
    ],
)
def test_discriminators_judge_features_as_they_judge_images(kind: Any) -> None:
    torch.manual_seed(0)
    network, image, text = kind(3, 16, 6, width=4).eval(), torch.randn(3, 3, 16, 16), torch.randn(3, 6)
    assert network(image, text).shape == (3, 1)
    assert torch.equal(network.judge(network.features(image), text), network(image, text))
    assert not torch.allclose(network(image, text), network(image, text.flip(0)))


def test_a_projected_discriminator_has_features_of_three_layers_of_a_network_that_is_not_saved() -> None:
    torch.manual_seed(0)
    plain = TextProjectionDiscriminator(3, 16, 6, width=4)
    network = TextProjectedDiscriminator(3, 16, 6, network="random_conv", head=5, width=4).eval()
    image = torch.rand(2, 3, 16, 16) * 2 - 1
    own, heads = network.features(image).split([plain.length, 15], 1)
    assert torch.allclose(own, relu(network.body(image)).sum((2, 3)), atol=1e-5)
    small, maps = seen(image, "random_conv")
    assert small.shape == (2, 3, 32, 32)
    assert [x.shape[1] for x in maps] == [*LAYERS["random_conv"].values()]
    assert torch.equal(heads, torch.cat([head(x) for head, x in zip(network.heads, maps, strict=True)], 1))
    assert {name for name, _ in network.named_children()} - {name for name, _ in plain.named_children()} == {"heads"}


def test_the_refiner_enlarges_four_times() -> None:
    torch.manual_seed(0)
    check_network(
        StackGANRefiner(3, 6, width=4, blocks=1), torch.randn(2, 3, 8, 8), torch.randn(2, 6), shape=(2, 3, 32, 32)
    )
    both = StackGANDiscriminator(3, 32, 6, width=4, unconditional=True)(torch.randn(2, 3, 32, 32), torch.randn(2, 6))
    assert both.shape == (2, 2)


@pytest.mark.parametrize("kind", [TextGenerator, DFGANGenerator, StackGANGenerator])
def test_an_unsupported_size_names_those_that_are_possible(kind: Any) -> None:
    with pytest.raises(ConfigError, match="48 pixels are not supported: use 4 times a power of 2"):
        kind(3, 48, 5, 6)


def test_conditioning_augmentation_has_the_divergence_of_the_normal_distributions() -> None:
    torch.manual_seed(0)
    network, sentence = ConditioningAugmentation(4, width=3), torch.randn(5, 4)
    mean, logvar = relu(network.linear(sentence)).chunk(2, 1)
    normal = torch.distributions.Normal(mean, (logvar / 2).exp())
    expected = torch.distributions.kl_divergence(normal, torch.distributions.Normal(0.0, 1.0)).mean()
    assert torch.allclose(network(sentence).kl, expected)
    assert not torch.equal(network(sentence).drawn, network(sentence).drawn)
    assert torch.equal(network.eval()(sentence).drawn, mean)


# ---- matching


def test_a_mismatched_caption_never_equals_the_right_one() -> None:
    torch.manual_seed(0)
    tokens = torch.tensor([[2, 3, 0], [2, 3, 0], [2, 3, 0], [2, 4, 0], [2, 3, 4]])
    chosen = set()
    for _ in range(200):
        wrong, exists = mismatched(tokens)
        assert exists.all()
        assert not (tokens[wrong] == tokens).all(1).any()
        chosen |= set(wrong[:3].tolist())
    assert chosen == {3, 4}  # all that differ are chosen


def test_without_a_different_caption_there_is_no_mismatch() -> None:
    _, exists = mismatched(torch.tensor([[2, 3], [2, 3]]))
    assert not exists.any()
    task = made()
    same = {"image": batch()["image"], "text": codes(*["a red circle"] * len(CAPTIONS))}
    losses = Engine(task, partial(adam, lr=1e-3), Train(steps=1)).step([same]).losses
    assert losses["D/mismatched"] == 0
    assert losses["D/real"] + losses["D/fake"] > 0


def test_the_matching_penalty_of_a_linear_function() -> None:
    a, b = torch.tensor([1.0, 2.0, 2.0]), torch.tensor([4.0])
    image, sentence = torch.randn(5, 3, 1, 1), torch.randn(5, 1)

    def judge(x: Tensor, s: Tensor) -> Tensor:
        return (x.flatten(1) @ a + s @ b)[:, None]

    assert torch.allclose(matching_penalty(judge, image, sentence), torch.tensor(2 * 25.0**3))  # |(1, 2, 2, 4)| = 5


def test_the_contrastive_loss_ignores_equal_captions() -> None:
    similarity = torch.tensor([[3.0, 9.0, 1.0], [9.0, 3.0, 1.0], [0.0, 0.0, 2.0]])
    same = torch.tensor([[1, 1, 0], [1, 1, 0], [0, 0, 1]]).bool()
    rows = [(3.0, 1.0), (3.0, 1.0), (2.0, 0.0, 0.0)]
    columns = [(3.0, 0.0), (3.0, 0.0), (2.0, 1.0, 1.0)]
    losses = [torch.logsumexp(torch.tensor(line), 0) - line[0] for line in rows + columns]
    assert torch.allclose(contrastive(similarity, same), torch.stack(losses).mean())


# ---- text encoders


@pytest.mark.parametrize("kind", [WordEncoder, CharacterEncoder])
def test_padding_does_not_change_a_sentence(kind: Any) -> None:
    torch.manual_seed(0)
    encoder = kind(words=30, embedding=4, width=6)
    alone = encoder.tokens(codes("a star"), learn=True)
    together = encoder.tokens(codes("a star", "two green boxes below a star"), learn=True)
    assert together.shape[1] > alone.shape[1]
    assert torch.allclose(encoder(together)[0], encoder(alone)[0], atol=1e-6)
    assert not torch.allclose(encoder(together)[1], encoder(alone)[0], atol=1e-2)


def test_the_order_of_words_matters() -> None:
    torch.manual_seed(0)
    encoder = WordEncoder(words=30, embedding=4, width=6)
    a, b = encoder(encoder.tokens(codes("a star above a box", "a box above a star"), learn=True))
    assert not torch.allclose(a, b, atol=1e-2)


def test_words_are_numbered_in_the_order_of_training_and_survive_a_state_dict() -> None:
    first, second = Vocabulary(5), Vocabulary(5)
    first.learn([["a", "red", "star"], ["a", "überall"]])
    assert first([["überall", "a"], ["red", "star", "no"]]).tolist() == [[5, 2, 0], [3, 4, 1]]
    assert second([["a"]]).tolist() == [[1]]
    second.load_state_dict(first.state_dict())  # in place, after the words have been read
    assert second([["a", "überall"]]).tolist() == [[2, 5]]
    second.learn([["new"]])
    assert (len(first), len(second)) == (4, 5)
    assert copy.deepcopy(second)([["new"]]).tolist() == [[6]]


def test_a_full_vocabulary_is_reported_once(caplog: pytest.LogCaptureFixture) -> None:
    vocabulary = Vocabulary(2)
    with caplog.at_level(logging.WARNING, "i2i"):
        vocabulary.learn([["a", "red", "star"]])
        vocabulary.learn([["another", "one"]])
    assert [record.message for record in caplog.records] == [
        "text2image: the vocabulary is full (2 words): words that appear from now on are treated as unknown; for "
        "more, set task.encoder.words"
    ]
    assert vocabulary([["a", "star"]]).tolist() == [[2, 1]]


def test_in_training_words_are_left_out_at_random() -> None:
    torch.manual_seed(0)
    encoder = WordEncoder(words=20, embedding=4, width=6, dropout=0.5)
    tokens = encoder.tokens(codes(*CAPTIONS), learn=True)
    given = tokens.clone()
    assert not torch.allclose(encoder(tokens), encoder(tokens))
    assert torch.equal(tokens, given)
    encoder.eval()
    assert torch.equal(encoder(tokens), encoder(tokens))


def test_an_odd_width_of_an_encoder_is_rejected() -> None:
    with pytest.raises(ConfigError, match="must be even, not 7"):
        WordEncoder(width=7)


def test_a_sentence_encoder_that_is_not_installed_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sentence_transformers", None)
    pretrained.cache_clear()
    with pytest.raises(ConfigError, match="needs the package sentence-transformers, which is not installed"):
        SentenceEncoder("some-model")


def test_any_installed_sentence_encoder_can_be_used(monkeypatch: pytest.MonkeyPatch) -> None:
    class Fake:
        def __init__(self, name: str, local_files_only: bool) -> None:
            if name != "lengths":
                raise OSError(name)

        def get_sentence_embedding_dimension(self) -> int:
            return 2

        def encode(self, sentences: list[str], show_progress_bar: bool) -> Any:
            return torch.tensor([[len(one), one.count("a")] for one in sentences]).float().numpy()

    module = types.SimpleNamespace(SentenceTransformer=Fake)
    monkeypatch.setitem(sys.modules, "sentence_transformers", module)
    pretrained.cache_clear()
    torch.manual_seed(0)
    task = Text2Image(
        partial(TextGenerator, width=4),
        partial(TextProjectionDiscriminator, width=4),
        partial(SentenceEncoder, "lengths", width=6),
        Hinge,
        latent=3,
        size=8,
    )
    losses = Engine(task, partial(adam, lr=1e-3), Train(steps=1)).step([batch()]).losses
    assert losses["D/real"] + losses["D/fake"] > 0
    assert task.eval().sample(2, text="ä zebra").shape == (2, 3, 8, 8)
    with pytest.raises(ConfigError, match="finds no model 'other' on this computer"):
        SentenceEncoder("other")
    pretrained.cache_clear()


# ---- the step


@pytest.mark.parametrize("kind", ["projection", "df_gan"])
def test_the_task_fulfils_the_contract(kind: str) -> None:
    check_task(made(kind), batch(), steps=8)


def test_a_step_equals_a_loop_by_hand() -> None:
    task, given = made("projection", lambda_gradient=2.0), batch()
    hand = copy.deepcopy(task)
    engine = Engine(task, partial(adam, lr=1e-3), Train(steps=1, seed=3))
    engine.step([given])

    seed_everything(3, 0, 0)
    hand.train()
    G, D, E = hand.generator, hand.discriminator, hand.encoder
    move_g = torch.optim.Adam(G.parameters(), lr=1e-3)
    move_d = torch.optim.Adam([*D.parameters(), *E.parameters()], lr=1e-3)  # type: ignore[union-attr]
    tokens = E.tokens(given["text"], learn=True)
    same = torch.tensor([[a == b for a in CAPTIONS] for b in CAPTIONS])
    sentence = E(tokens)
    fake = G(torch.randn(len(tokens), 3), sentence.detach())
    seen = D.features(fake)
    loss = -D.judge(seen, sentence.detach()).mean() + contrastive(D.similarity(seen, sentence.detach()), same)
    move_g.zero_grad()
    loss.backward(inputs=list(G.parameters()))
    move_g.step()
    wrong, _ = mismatched(tokens)
    seen = D.features(given["image"])
    of_fake = D(fake.detach(), sentence)
    of_wrong = D.judge(seen, sentence[wrong])
    loss = relu(1 - D.judge(seen, sentence)).mean() + (relu(1 + of_fake).mean() + relu(1 + of_wrong).mean()) / 2
    loss = loss + contrastive(D.similarity(seen, sentence), same) + matching_penalty(D, given["image"], sentence)
    move_d.zero_grad()
    loss.backward()
    move_d.step()
    for key, value in hand.state_dict().items():
        if isinstance(value, Tensor):
            assert torch.allclose(value, task.state_dict()[key], atol=1e-6), key


# ---- matching that is learned before


def matching(**options: Any) -> TextMatching:
    torch.manual_seed(0)
    given: dict[str, Any] = {"words": 20, "embedding": 4, "width": 6, "shared": 5, "network": "random_conv"}
    return TextMatching(partial(MatchingEncoder, **(given | options)))


@pytest.fixture(scope="module")
def matched(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of text_matching, of two steps."""
    folder = tmp_path_factory.mktemp("matching")
    (folder / "tiny.yaml").write_text(MATCHING)
    return api.run(folder / "tiny.yaml", out=folder / "run")


MATCHING = """
task:
  use: text_matching
  encoder: {use: matching_encoder, words: 60, embedding: 4, width: 6, shared: 5, network: random_conv}
data: {use: captioned_scenes, size: 32, batch_size: 6, samples: 64, validation_samples: 8}
optimizer: {use: adam, lr: 1.0e-2}
train: {steps: 2, seed: 0}
"""


def with_matching(run: Path | None, words: int = 60, **options: Any) -> Text2Image:
    torch.manual_seed(0)
    given = {"words": words, "embedding": 4, "width": 6, "shared": 5, "network": "random_conv", "fixed": True}
    networks = partial(TextGenerator, width=4), partial(TextProjectionDiscriminator, width=4)
    weights = {"lambda_matching": 2.0, "lambda_alike": 0.5} | options
    task = Text2Image(*networks, partial(MatchingEncoder, **given), Hinge, latent=3, size=8, **weights)
    if run is not None:
        checkpoint.load_weights(task, checkpoint.load_model(run / "model.safetensors")[0], str(run), partial=True)
    return task


def test_matching_fulfils_the_contract_and_learns() -> None:
    check_task(matching(), batch(), steps=8)
    task = matching(dropout=0.0)
    engine = Engine(task, partial(adam, lr=1e-2), Train(steps=60))
    losses = [engine.step([batch()]).losses["M/match"] for _ in range(60)]
    assert losses[-1] < losses[0] / 2
    assert task.eval().validate(batch())["top1"] > 1 / 3


def test_the_matching_loss_equals_one_by_hand() -> None:
    task, given = matching(dropout=0.0), batch()
    ((player, losses),) = task.step(given)
    assert player == "M"
    small, maps = seen(given["image"], "random_conv")
    parts = []
    for x in maps:
        height, width = x.shape[2] // 2, x.shape[3] // 2
        part = x.unflatten(2, (2, height)).unflatten(4, (2, width)).mean((3, 5)).flatten(1)
        parts.append((part - part.mean(1, keepdim=True)) / (part.var(1, keepdim=True, correction=0) + 1e-5).sqrt())
    colours = 2 * small.unflatten(2, (4, 8)).unflatten(4, (4, 8)).mean((3, 5)).flatten(1)
    pictures = task.encoder.of_image(torch.cat([*parts, colours], 1))
    sentences = task.encoder.of_text(task.encoder(task.encoder.tokens(given["text"])))
    logits = cosine_similarity(pictures[:, None], sentences[None], dim=2) / 0.1
    logits[0, 3] = logits[3, 0] = float("-inf")  # equal captions
    own = torch.arange(len(CAPTIONS))
    expected = (cross_entropy(logits, own) + cross_entropy(logits.T, own)) / 2
    assert torch.allclose(losses["match"], expected, atol=1e-5)


def test_text_matching_trains_only_a_matching_encoder() -> None:
    for encoder in (WordEncoder, partial(MatchingEncoder, network="random_conv", fixed=True)):
        with pytest.raises(ConfigError, match=r"text_matching trains a matching_encoder: .* without `fixed`"):
            TextMatching(encoder)


def test_the_losses_of_g_with_matching_equal_those_by_hand(matched: Path) -> None:
    task, given = with_matching(matched).train(), batch()
    seed_everything(3, 0, 0)
    player, losses = next(iter(task.step(given)))
    weights = checkpoint.load_model(matched / "model.safetensors")[0]
    assert all(torch.equal(task.encoder.state_dict()[key.removeprefix("encoder.")], weights[key]) for key in weights)

    hand = with_matching(matched).train()
    G, D, E = hand.generator, hand.discriminator, hand.encoder
    seed_everything(3, 0, 0)
    tokens = E.tokens(given["text"])
    same = (tokens[:, None] == tokens[None]).all(2)
    sentence = E(tokens)
    fake = G(torch.randn(len(tokens), 3), sentence)
    pictures, real, text = E.of_pictures(fake), E.of_pictures(given["image"]), E.of_sentences(sentence)
    expected = {
        "gan": -D.judge(D.features(fake), sentence).mean(),
        "matching": 2.0 * contrastive(pictures @ text.T / 0.1, same),
        "alike": 0.5 * contrastive(pictures @ real.T / 0.1, same),
    }
    assert player == "G"
    assert losses.keys() == expected.keys()
    for name, loss in expected.items():
        assert torch.allclose(losses[name], loss, atol=1e-5), name
        whole, part = (
            torch.autograd.grad(x, net.parameters(), retain_graph=True)
            for x, net in ((losses[name], task.generator), (loss, G))
        )
        assert all(torch.allclose(a, b, atol=1e-5) for a, b in zip(whole, part, strict=True)), name


def test_the_summary_of_text_matching_suggests_no_call_that_it_lacks(matched: Path) -> None:
    assert "use it" not in summary(matched)


def test_a_fixed_matching_encoder_learns_nothing_and_needs_weights(matched: Path) -> None:
    task = with_matching(matched)
    assert "encoder" not in task.ema
    assert not any(p.requires_grad for p in task.encoder.parameters())
    task.train()
    assert not task.encoder.training
    known = task.encoder.vocabulary.table.clone()
    assert known.any()
    tokens = task.encoder.tokens(codes("a zebra"), learn=True)
    assert torch.equal(task.encoder.vocabulary.table, known)
    assert tokens[0, 1] == 1  # unknown
    with pytest.raises(ConfigError, match=r"task.encoder is fixed, so it needs train.start_from=RUN"):
        list(with_matching(None).step(batch()))
    with pytest.raises(
        ConfigError, match=r"has no encoder.vocabulary.table that fits it: name a run of text_matching"
    ):
        list(with_matching(matched, words=50).step(batch()))
    with pytest.raises(ConfigError, match="need an encoder that was trained to match pictures"):
        made(lambda_alike=1.0)


def test_augmentation_changes_what_d_sees_and_reaches_g() -> None:
    given = batch()
    losses = [
        Engine(made(augment=kinds), partial(adam, lr=1e-3), Train(steps=1)).step([given]).losses
        for kinds in ((), ("translation", "cutout"))
    ]
    assert losses[0].keys() == losses[1].keys()
    assert losses[0]["D/match"] != losses[1]["D/match"]
    assert losses[0]["G/gan"] != losses[1]["G/gan"]


def test_stackgan_trains_its_stages_one_after_the_other() -> None:
    task = made("stackgan", refine_from=1)
    engine = Engine(task, partial(adam, lr=1e-3), Train(steps=2))
    names = ("encoder", "augmentation", "generator", "discriminator")
    second = ("refiner_augmentation", "refiner", "refiner_discriminator")

    def moved(before: dict[str, Tensor]) -> set[str]:
        own = dict(task.named_parameters())
        return {key.split(".")[0] for key, value in before.items() if not torch.equal(value, own[key])}

    def weights() -> dict[str, Tensor]:
        return {key: value.detach().clone() for key, value in task.named_parameters()}

    before = weights()
    assert "G/kl" in engine.step([batch(32)]).losses
    assert moved(before) == set(names)
    assert task.eval().validate(batch(32)).keys() == {"unknown_words", "matched", "real"}
    enlarged = task.translate(codes("a red circle"))
    assert torch.equal(enlarged, interpolate(enlarged[:, :, ::4, ::4], 32))  # of stage I
    before = weights()
    assert "G/kl" in engine.step([batch(32)]).losses
    assert moved(before) == set(second)
    assert task.eval().validate(batch(32)).keys() == {"unknown_words", "matched", "real"}
    refined = task.translate(codes("a red circle"))
    assert refined.shape == enlarged.shape
    assert not torch.equal(refined, enlarged)


@pytest.mark.parametrize("steps", [1, 2])
def test_stackgan_of_an_older_version_keeps_its_stage(steps: int) -> None:
    task, other = made("stackgan", refine_from=1), made("stackgan", refine_from=1)
    Engine(task, partial(adam, lr=1e-3), Train(steps=1)).step([batch(32)])
    tensors = {key: value for key, value in task.state_dict().items() if isinstance(value, Tensor)}
    assert "done" not in tensors
    del tensors["refined"]
    assert checkpoint.load_weights(other, tensors | {"done": torch.tensor(steps)}, "old") is None
    assert bool(other.refined) == (steps > 1)


def test_stackgan_weighs_its_terms_as_published() -> None:
    task, given = made("stackgan", refine_from=0), batch(32)
    seed_everything(0, 0, 0)
    turns = dict(copy.deepcopy(task).step(given))
    assert set(turns["G"]) == {"gan", "kl"}
    assert set(turns["D"]) == {"real", "fake", "mismatched"}

    class Half(nn.Module):  # a discriminator that is always undecided: each cross entropy is log 2
        def features(self, image: Tensor) -> Tensor:
            return image.mean((1, 2, 3))[:, None]

        def judge(self, features: Tensor, condition: Tensor) -> Tensor:
            return features.expand(-1, 2) * 0

        def forward(self, image: Tensor, condition: Tensor) -> Tensor:
            return self.judge(self.features(image), condition)

    task.refiner_discriminator = Half()
    turns = dict(task.step(given))
    log2 = torch.tensor(2.0).log()
    assert torch.allclose(turns["G"]["gan"], 2 * log2)  # conditional + unconditional
    assert torch.allclose(turns["D"]["real"], log2)  # (conditional + unconditional) / 2
    assert torch.allclose(turns["D"]["fake"], 2 * log2 / 3)  # (fake + wrong + fake alone) / 3
    assert torch.allclose(turns["D"]["mismatched"], log2 / 3)


def test_arguments_that_do_not_fit_are_rejected() -> None:
    with pytest.raises(ConfigError, match="lambda_match needs a discriminator with `similarity`"):
        made("df_gan", lambda_match=1.0)
    with pytest.raises(ConfigError, match="must be hinge, vanilla, minimax or lsgan"):
        made(gan=WGANGP)
    with pytest.raises(ConfigError, match="belong together"):
        made("stackgan", refiner_discriminator=None)
    with pytest.raises(ConfigError, match=r"the images are \[3, 16, 16\], but the task makes \[3, 8, 8\]"):
        next(made().step(batch(16)))
    with pytest.raises(ConfigError, match='needs samples with "image" and "text", and these have A, B'):
        next(made().step({"A": batch()["image"], "B": batch()["image"]}))


# ---- inference


@pytest.fixture
def trained() -> Text2Image:
    task = made()
    Engine(task, partial(adam, lr=1e-2), Train(steps=1)).step([batch()])
    return task.eval()


def test_a_caption_always_gives_the_same_picture_and_a_seed_another(trained: Text2Image) -> None:
    a, b = trained.translate(codes("a red circle", "a star")), trained.translate(codes("a red circle"))
    assert torch.allclose(a[:1], b, atol=1e-6)
    assert not torch.allclose(b, trained.translate(codes("a red circle"), seed=1), atol=1e-4)


def test_truncation_bounds_the_noise(trained: Text2Image) -> None:
    torch.manual_seed(0)
    assert trained.prior(500).abs().max() > 2
    assert trained.prior(500, truncation="0.5").abs().max() <= 0.5
    for wrong in ("0", "-1", "nan", "inf", "much"):
        with pytest.raises(ConfigError, match=f"truncation={wrong}: should be a number above 0"):
            trained.sample(1, text="a star", truncation=wrong)


def test_codes_walk_between_noises_or_between_sentences(trained: Text2Image) -> None:
    one = trained.prior(4, text="a star")
    assert torch.equal(one[:, 3:], one[:1, 3:].expand(4, -1))
    assert not torch.equal(one[0, :3], one[1, :3])
    two = trained.prior(4, text=["a star", "a red circle"])
    assert torch.equal(two[0, :3], two[1, :3])
    assert not torch.equal(two[0, :3], two[2, :3])
    assert torch.equal(two[0, 3:], two[2, 3:])
    assert torch.allclose(trained.decode(two[:1]), trained.decode(two[:1, :3], text="a star"), atol=1e-6)
    with pytest.raises(ConfigError, match="give a caption"):
        trained.sample(2)
    with pytest.raises(DataError, match=r"codes must be \[N, 3\], or \[N, 9\] with sentences, not \[1, 4\]"):
        trained.decode(torch.zeros(1, 4))


def test_unknown_words_are_named_counted_and_rejected_if_there_are_no_others(
    trained: Text2Image, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING, "i2i"):
        trained.translate(codes("a red zebra", "a pink star"))
    assert caplog.messages == [
        "text2image: unknown words: 'zebra', 'pink'; the model knows only words from its training captions"
    ]
    given = {"image": batch()["image"][:2], "text": codes("a red zebra", "a red circle")}
    assert trained.validate(given)["unknown_words"] == pytest.approx(1 / 6)
    with pytest.raises(
        DataError, match="'pink zebra' contains no word that the model knows; it has learned 10 words"
    ):
        trained.translate(codes("pink zebra"))


def test_pictures_show_the_caption_the_truth_and_generated_columns(trained: Text2Image) -> None:
    shown = trained.pictures(batch())
    assert list(shown) == ["text", "real", "made 1", "made 2", "made 3", "made 4"]
    assert not torch.equal(shown["made 1"], shown["made 2"])


# ---- runs

CONFIG = """
task:
  use: text2image
  encoder: {use: word_encoder, words: 60, embedding: 8, width: 8}
  generator: {use: df_gan_generator, width: 2}
  discriminator: {use: df_gan_discriminator, width: 2}
  gan: {use: hinge}
  latent: 4
  size: 32
  lambda_gradient: 2.0
data: {use: captioned_scenes, size: 32, batch_size: 4, samples: 64, validation_samples: 8}
optimizer: {use: adam, lr: 1.0e-3}
train: {steps: 4, seed: 0, ema: 0.9, sample_every: 4, checkpoint_every: 2}
"""


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("text2image")
    (folder / "tiny.yaml").write_text(CONFIG)
    return api.run(folder / "tiny.yaml", out=folder / "run")


def test_a_resumed_run_equals_an_unbroken_one(run: Path, tmp_path: Path) -> None:
    (tmp_path / "tiny.yaml").write_text(CONFIG)
    api.run(tmp_path / "tiny.yaml", "train.steps=2", out=tmp_path / "run")
    api.run(tmp_path / "tiny.yaml", out=tmp_path / "run", resume=True)
    whole, parts = (checkpoint.load_model(folder / "model.safetensors")[0] for folder in (run, tmp_path / "run"))
    assert all(torch.equal(whole[key], parts[key]) for key in whole)
    assert whole["encoder.vocabulary.table"].any(1).sum() > 10
    assert json.loads((run / "metrics.json").read_text())["validation/unknown_words"] < 1


def test_a_resumed_run_with_matching_equals_an_unbroken_one(matched: Path, tmp_path: Path) -> None:
    options = "words: 60, embedding: 4, width: 6, shared: 5, network: random_conv"
    encoder = f"{{use: matching_encoder, {options}, fixed: true}}"
    discriminator = "{use: text_projected_discriminator, network: random_conv, width: 2, head: 3}"
    losses = "lambda_matching: 1.0\n  lambda_alike: 1.0\n  augment: [translation, cutout]"
    text = CONFIG.replace("{use: word_encoder, words: 60, embedding: 8, width: 8}", encoder)
    text = text.replace("{use: df_gan_discriminator, width: 2}", discriminator)
    text = text.replace("lambda_gradient: 2.0", losses).replace("train: {", f"train: {{start_from: {matched}, ")
    (tmp_path / "tiny.yaml").write_text(text)
    whole = api.run(tmp_path / "tiny.yaml", out=tmp_path / "whole")
    api.run(tmp_path / "tiny.yaml", "train.steps=2", out=tmp_path / "parts")
    parts = api.run(tmp_path / "tiny.yaml", out=tmp_path / "parts", resume=True)
    a, b = (checkpoint.load_model(folder / "model.safetensors")[0] for folder in (whole, parts))
    assert all(torch.equal(a[key], b[key]) for key in a)
    model = i2i.load(whole)  # also if the first run is gone
    assert model("a red circle at the top").size == (32, 32)


def test_two_processes_learn_the_same_words_in_the_same_order(run: Path, tmp_path: Path) -> None:
    (tmp_path / "tiny.yaml").write_text(CONFIG)
    done = i2i_command("run", "tiny.yaml", "train.steps=2", "--nproc", "2", "-o", "run", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    one, two = (checkpoint.load_model(folder / "model.safetensors")[0] for folder in (run, tmp_path / "run"))
    key = "encoder.vocabulary.table"
    learned = int(two[key].any(1).sum())
    assert learned > 10
    assert torch.equal(one[key][:learned], two[key][:learned])  # `run` has trained for longer


def exit_code(monkeypatch: pytest.MonkeyPatch, *words: str) -> int:
    """Return the exit code of `i2i WORDS`."""
    monkeypatch.setattr(sys, "argv", ["i2i", *words])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    return int(ended.value.code or 0)


def test_captions_become_pictures_on_the_command_line(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, out = ["-m", str(run)], tmp_path / "out"
    (tmp_path / "captions.txt").write_text("a red circle\n\ntwo blue stars\n")
    for line in (
        ["translate", "a red circle", *model, "-o", str(out)],
        ["translate", str(tmp_path / "captions.txt"), *model, "-o", str(out / "lines")],
        ["sample", "3", *model, "-o", str(out / "samples"), "-c", "text=a red circle", "-c", "truncation=0.7"],
        ["latent", "interpolate", *model, "-o", str(out / "noise.png"), "-c", "text=a red circle"],
        ["latent", "interpolate", *model, "-o", str(out / "text.png"), "-c", "text=a star", "-c", "text=a box"],
    ):
        assert exit_code(monkeypatch, *line) == 0, line
    found = sorted(str(path.relative_to(out)) for path in out.rglob("*.png"))
    assert found == [
        "a-red-circle.png",
        "lines/captions-0001.png",
        "lines/captions-0003.png",
        "noise.png",
        "samples/00000.png",
        "samples/00001.png",
        "samples/00002.png",
        "text.png",
    ]


def test_a_bad_caption_is_one_sentence_with_the_exit_code_of_an_input_or_of_a_condition(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for caption, words in (
        (" ", "the caption is empty"),
        ("zebra", "no word that the model knows"),
        ("a " * 150, ""),
    ):
        assert exit_code(monkeypatch, "translate", caption, "-m", str(run), "-o", str(tmp_path / "out")) == 3
        shown = "".join(capsys.readouterr())
        assert words in shown
        assert "Traceback" not in shown
        command = ["sample", "2", "-m", str(run), "-o", str(tmp_path / "out"), "-c", f"text={caption}"]
        assert exit_code(monkeypatch, *command) == 2
        shown = "".join(capsys.readouterr())
        assert words in shown
        assert "i2i: text: " in shown
    assert not list(tmp_path.rglob("*.png"))
    assert exit_code(monkeypatch, "sample", "2", "-m", str(run), "-o", str(tmp_path / "out")) == 2
    assert "give a caption" in "".join(capsys.readouterr())


def test_a_loaded_model_paints_a_sentence(run: Path) -> None:
    model = i2i.load(run)
    picture = model("a red circle")
    assert picture.size == (32, 32)
    assert model.sample(2, text=["a red circle", "a star"]).shape == (2, 3, 32, 32)


def test_micro_batches_in_lockstep_are_one_step() -> None:
    task = made()
    Engine(task, partial(adam, lr=1e-3), Train(steps=1, accumulate=2)).step([batch(), batch(seed=1)])
    assert int(task.done) == 1


def test_processes_number_the_words_of_all_of_them_in_the_same_order() -> None:
    parts = codes("a red star", "a box"), codes("two green boxes", "a circle")
    whole = WordEncoder(words=20).tokens(torch.cat(parts), learn=True)
    for rank in range(2):
        task = made()
        task.over_processes = lambda fn, x, rank=rank: fn(torch.cat(parts))[2 * rank : 2 * rank + 2]
        tokens = task.over_processes(partial(task.encoder.tokens, learn=True), parts[rank])
        assert torch.equal(tokens, whole[2 * rank : 2 * rank + 2])
