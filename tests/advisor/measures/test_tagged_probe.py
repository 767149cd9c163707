"""Probes, baselines, size and advice of tagged words."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from advisor.cli import run
from advisor.kinds.sentences import Sentences
from advisor.kinds.table import kind_of
from advisor.measures.baselines import lookup_baseline, outside_baseline, token_baseline, word_cues
from advisor.measures.probe import probe_blocks
from advisor.measures.size import ENTITIES, measure_size
from advisor.measures.words import WORD_L2_GRID, SentenceFeatures, WordFeatures, sentence_folds
from advisor.pipeline import recommend
from advisor.report.page import make_page
from helpers import tiny
from helpers.loading import load_target
from tuner.errors import ModelError, OptionError
from tuner.model.assemble import load_backbone
from tuner.tasks.classes import Classes
from tuner.tasks.heads import cross_validate
from tuner.tasks.tags import Tags, TagTruth
from tuner.training.augmentation import usual_policy

NAMES = ("O", "B-a", "I-a")


def tagged_features(
    *, n: int = 90, words: int = 5, blocks: int = 5, telling: int = 2, unseen: int = 0, seed: int = 0
) -> SentenceFeatures:
    """Sentences with one entity of two words; one block tells the tags of their words."""
    generator = np.random.default_rng(seed)
    tags = np.zeros((n, words), dtype=np.int64)
    for row, start in enumerate(generator.integers(0, words - 1, size=n)):
        tags[row, start : start + 2] = 1, 2
    tags = tags.reshape(-1)
    features = generator.normal(size=(blocks, n * words, 6)).astype(np.float16)
    features[telling, np.arange(n * words), tags] += 8
    seen = np.ones(n * words, dtype=bool)
    seen[: unseen * words] = False
    features[:, ~seen] = 0
    return SentenceFeatures(
        rows=np.arange(n),
        texts=("x",) * n,
        features=tuple(np.zeros((n, 6), dtype=np.float32) for _ in range(blocks)),
        labels=np.ones(n, dtype=np.int32),
        groups=None,
        lengths=np.full(n, words + 2),
        truncated=0.0,
        tagged=WordFeatures(
            features=tuple(features),
            words=(("x",) * words,) * n,
            tags=tags,
            n_words=np.full(n, words),
            seen=seen,
            names=NAMES,
        ),
    )


def truth_of(tags: list[list[int]], names: tuple[str, ...] = NAMES) -> TagTruth:
    labels = np.concatenate([np.array(row, dtype=np.int64) for row in tags])
    return TagTruth(labels=labels, metric="entity_f1", n_words=np.array([len(row) for row in tags]), names=names)


# --- probes


def test_the_telling_block_has_the_best_probe_of_words():
    profile = probe_blocks(tagged_features(), task=Tags(names=NAMES), metric="entity_f1")
    blocks = {probe.block: probe.score for probe in profile.probes if probe.block is not None}
    assert max(blocks, key=blocks.get) == 2
    assert blocks[2] > 0.95
    assert blocks[0] < 0.5
    assert (profile.n_rows, profile.folds, profile.unit, profile.metric) == (90, 3, "sentence", "entity_f1")
    assert all(probe.interval[0] - 1e-9 <= probe.score <= probe.interval[1] + 1e-9 for probe in profile.probes)


def test_the_learning_curve_counts_sentences():
    curve = probe_blocks(tagged_features(), task=Tags(names=NAMES), metric="entity_f1").learning_curve
    assert [point.n for point in curve] == [7, 15, 30, 60]
    assert curve[-1].gain == pytest.approx(curve[-1].score - curve[-2].score)
    assert curve[-1].gain_interval[0] <= curve[-1].gain <= curve[-1].gain_interval[1]


def test_words_that_are_not_seen_are_predicted_outside():
    """A third of the sentences is not seen: no probe can find their entities."""
    profile = probe_blocks(tagged_features(unseen=30), task=Tags(names=NAMES), metric="entity_f1")
    assert profile.best.score == pytest.approx(2 * (2 / 3) / (1 + 2 / 3), abs=0.03)
    assert profile.learning_curve[-1].score == pytest.approx(0.8, abs=0.04)


def test_the_penalty_of_words_is_cross_validated_on_single_blocks(monkeypatch):
    tried = []

    def recording(*arguments, l2, **options):
        tried.append(tuple(l2))
        return cross_validate(*arguments, l2=l2, **options)

    monkeypatch.setattr("tuner.tasks.heads.cross_validate", recording)
    probes = probe_blocks(tagged_features(), task=Tags(names=NAMES), metric="entity_f1").probes
    best = max((probe for probe in probes if probe.block is not None), key=lambda probe: probe.score)
    assert tried == [WORD_L2_GRID] * 5 + [(best.l2,)] * 3


def test_equal_sentences_share_a_fold_and_one_stratum_is_enough():
    groups = np.repeat(np.arange(20), 2)
    folds = sentence_folds(np.ones(40, dtype=np.int64), groups=groups, seed=0)
    assert (folds[::2] == folds[1::2]).all()
    assert np.bincount(folds).tolist() in ([14, 14, 12], [14, 12, 14], [12, 14, 14])


# --- features


def learnable(n: int = 60) -> tuple[list[list[str]], list[list[str]]]:
    """Animals and, before some, a colour that belongs to them; every third sentence holds none."""
    generator = np.random.default_rng(0)
    tokens, tags = [], []
    for i in range(n):
        words = [str(word) for word in generator.choice(["the", "a", "film", "was", "very", "runs"], size=4)]
        names = ["O"] * 4
        if i % 3:
            at = int(generator.integers(0, 4))
            found = [["cat"], ["red", "dog"], ["good"]][i % 4 % 3]
            kind = "mood" if found == ["good"] else "animal"
            words[at:at] = found
            names[at:at] = [f"B-{kind}", f"I-{kind}"][: len(found)]
        tokens.append([*words, f"w{i}"])
        tags.append([*names, "O"])
    return tokens, tags


@pytest.fixture(scope="module")
def backbone():
    return load_backbone((tiny.bert(), tiny.tokenizer()), device="cpu")


def test_one_pass_gives_features_of_sentences_and_of_words(backbone):
    target = load_target(learnable())
    assert isinstance(kind_of(target), Sentences)
    features = kind_of(target).embed(target, backbone=backbone)
    words = kind_of(target).rows_at(target, features.rows)
    assert [block.shape for block in features.features] == [(len(words), 32)] * 4
    assert features.texts == tuple(" ".join(row) for row in words)
    expected = backbone.block_features(backbone.encode([" ".join(row) for row in words]))
    np.testing.assert_allclose(features.features[2], expected[2], atol=1e-5)
    tagged = features.tagged
    np.testing.assert_allclose(tagged.features[3], backbone.block_features(backbone.encode(words))[3], atol=2e-3)
    assert tagged.words == tuple(words)
    assert tagged.tags.tolist() == np.concatenate([target.tags[row] for row in features.rows]).tolist()
    assert tagged.names == target.class_names


def test_probes_learn_from_whole_sentences_within_the_limit(backbone, monkeypatch):
    monkeypatch.setattr("advisor.measures.words.PROBED_WORDS", 100)
    monkeypatch.setattr("advisor.measures.words.FEWEST_PROBED", 5)
    target = load_target(learnable())
    features = Sentences().embed(target, backbone=backbone)
    assert features.n_probed < len(features.rows)
    assert 90 < features.tagged.n_words.sum() <= 100
    assert len(features.tagged.tags) == len(features.tagged.features[0]) == features.tagged.n_words.sum()
    assert len(features.features[0]) == len(features.rows)
    profile = probe_blocks(features, task=Sentences().task(target), metric="entity_f1")
    assert profile.n_rows == features.n_probed
    monkeypatch.setattr("advisor.measures.words.FEWEST_PROBED", 30)
    assert Sentences().embed(load_target(learnable()), backbone=backbone).n_probed == 30


def test_entities_beyond_the_length_are_said():
    short = load_backbone((tiny.bert(), tiny.tokenizer()), device="cpu", max_length=5)
    features = Sentences().embed(load_target(learnable()), backbone=short)
    assert not features.tagged.seen.all()
    assert "are not seen by the model (they stand beyond its 5 tokens" in features.warnings[-1]


# --- baselines


def test_everything_outside_scores_nothing():
    baseline = outside_baseline(truth_of([[1, 2], [0, 1]]))
    assert (baseline.score, baseline.interval) == (0.0, (0.0, 0.0))


def test_entities_of_one_type_are_looked_up_longest_first():
    names = ("O", "B-a", "I-a", "B-b")
    words = [["New", "York"], ["New"], ["York"], ["Ada"], ["Ada"], ["in", "New", "York", "York", "Ada"]]
    tags = [[1, 2], [3], [3], [1], [3], [0, 1, 2, 3, 1]]
    truth = truth_of(tags, names)
    baseline = lookup_baseline(words, truth, folds=np.array([0, 0, 0, 0, 0, 1]))
    # In the last sentence both but Ada, whose type is not certain; the others know what the last one holds.
    found = [[1, 2], [0], [3], [1], [1], [0, 1, 2, 3, 0]]
    assert baseline.score == pytest.approx(truth.score(np.concatenate(found)))


def test_a_linear_model_of_words_sees_neighbours_and_shapes():
    """The names are new in every sentence: only their capital and the word before tell them."""
    letters = "bcdfghjklm"
    words = [["mister", f"X{letters[i % 10]}{letters[i // 10]}o", "the", "dog"] for i in range(90)]
    truth = truth_of([[0, 1, 0, 0]] * 90)
    folds = np.arange(90) % 3
    assert token_baseline(words, truth, folds=folds).score > 0.95
    assert lookup_baseline(words, truth, folds=folds).score == 0.0
    assert token_baseline([["a"]] * 6, truth_of([[0]] * 6), folds=np.arange(6) % 2) is None


def test_cues_at_the_edges_are_blank():
    assert word_cues(["a"]) == [["w=a", "W=a", "s=x", "-1=", "-2=", "-1s=", "+1=", "+2=", "+1s=", *["<a", "a>"] * 3]]


# --- size


def entities(**by_type):
    return {"by_type": by_type, "counting": ENTITIES}


def test_size_counts_entities():
    small = measure_size(n_examples=20_000, n_duplicates=0, n_per_class_min=300, **entities(a=500, b=300))
    assert (small.verdict, small.n_entities, small.unit) == ("small", 800, "entities")
    assert small.why == "800 entities in 20,000 distinct sentences, under 1,000: small"
    rare = measure_size(n_examples=20_000, n_duplicates=0, n_per_class_min=10, **entities(a=20_000, b=10))
    assert rare.why == "the rarest type has 10 entities, under 64: small"
    large = measure_size(n_examples=9_000, n_duplicates=0, n_per_class_min=600, **entities(a=20_000, b=600))
    assert large.verdict == "large"
    assert measure_size(n_examples=300, n_duplicates=0, n_per_class_min=100).by_type is None


def test_size_counts_the_entities_of_distinct_sentences():
    tokens, tags = learnable()
    target = load_target((tokens * 2, tags * 2))
    size = kind_of(target).size(target, learning_curve=(), curve_features="last")
    assert (size.n_examples, size.n_duplicates, size.n_effective) == (120, 60, 60)
    assert size.by_type == {
        kind: sum(name == f"B-{kind}" for row in tags for name in row) for kind in ("animal", "mood")
    }
    assert size.n_per_class_min == min(size.by_type.values())


# --- the advice


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return tiny.save_model(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    path = tmp_path_factory.mktemp("data") / "animals.jsonl"
    tokens, tags = learnable(120)
    path.write_text("".join(json.dumps({"tokens": w, "tags": t}) + "\n" for w, t in zip(tokens, tags, strict=True)))
    return path


@pytest.fixture(scope="module")
def advice(model, data, tmp_path_factory):
    out = tmp_path_factory.mktemp("runs") / "run"
    recommend(str(data), model=str(model), out=out)
    return json.loads((out / "advice.json").read_text()) | {"folder": str(out)}


def test_the_advice_is_about_entities(advice):
    assert advice["metric"] == "entity_f1"
    data = advice["data"]
    assert (data["kind"], data["task"], data["scheme"]) == ("text", "token_classification", "BIO")
    assert data["n_classes"] == 2
    assert data["class_counts"].keys() == {"animal", "mood"}
    assert data["n_entities"] == sum(data["class_counts"].values()) == 80
    assert data["tags"][0] == "O"
    assert data["n_words"] > 600
    assert advice["size"]["unit"] == "entities"
    baselines = advice["baselines"]
    assert baselines.keys() == {"majority", "entity_lookup", "token_linear", "best_probe"}
    assert baselines["majority"]["score"] == 0
    assert baselines["token_linear"]["score"] > 0.8
    assert baselines["best_probe"]["score"] > 0.8  # each word has an embedding of its own
    assert "there is no evidence for this kind of task yet" in " ".join(advice["strategy"]["reasons"])
    assert advice["freeze"]["predicted_by_depth"][-1]["why"].endswith("sentences")
    assert "--metric" not in advice["next_command"]


def test_masking_is_what_fits_words():
    """Words that are dropped would take their tags along; without a mask there is nothing to put in their place."""
    plain = load_backbone((tiny.bert(), tiny.tokenizer()), device="cpu")
    assert usual_policy(plain, Tags(names=NAMES)) is None
    classes = Classes(names=("a", "b"))
    assert usual_policy(plain, classes) == "mixup"
    # Mixed texts have no last token in common.
    assert usual_policy(replace(plain, pooling="last"), classes) == "token_dropout"
    tokenizer = tiny.tokenizer()
    tokenizer.mask_token = "[UNK]"
    masking = load_backbone((tiny.bert(), tokenizer), device="cpu")
    assert usual_policy(masking, Tags(names=NAMES)) == "masking"


def test_the_report_speaks_of_entities(advice):
    page = make_page(advice, tuning=None)
    said = {fact.label: fact.value for section in page.sections for fact in section.facts}
    assert (said["Entities"], said["Types"], said["Sentences"]) == ("80", "2", "120")
    assert "Classes" not in said
    assert {fact.label for fact in page.facts} >= {"Entities", "Best probe"}
    tables = [table for section in page.sections for table in section.folded]
    tables += [figure.table for section in page.sections for figure in section.figures]
    assert any(table.caption == "Types of entities, 2" for table in tables)
    compared = next(table for table in tables if table.caption == "Against the baselines")
    assert {"every word O", "entities looked up", "words and shapes + logistic regression"} <= {
        row[0] for row in compared.rows
    }
    curve = next(table for table in tables if table.caption == "Would more data help?")
    assert curve.columns[0] == "Training sentences"
    size = next(table for table in tables if table.caption == "What the size rests on")
    assert "entities of the rarest type" in {row[0] for row in size.rows}


def test_the_command_prints_entities(model, data, tmp_path, capsys):
    out = tmp_path / "run"
    assert run(["recommend", str(data), "--model", str(model), "--out", str(out), "--quiet"]) == 0
    printed = capsys.readouterr().out
    assert "120 sentences, 80 entities of 2 types" in printed
    assert "every word O 0.000, entities looked up" in printed
    assert "words and shapes + logistic regression" in printed


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--metric", "accuracy"], "--metric accuracy does not go with tagged words"),
        (["--metric", "f1"], "unknown metric"),
        (["--group", "g"], "has no column 'g'"),
        (["--image", "i"], "--image does not go with tagged sentences"),
        (["--model", "cifar-resnet"], "reads images, but animals holds texts"),
    ],
)
def test_what_does_not_fit_is_said(options, said, model, data, tmp_path, capsys):
    given = options if "--model" in options else [*options, "--model", str(model)]
    assert run(["recommend", str(data), *given, "--out", str(tmp_path / "run"), "--quiet"]) == 2
    message = capsys.readouterr().err
    assert said in message
    assert "Traceback" not in message


def test_tags_need_entity_f1_and_classes_do_not_have_it(model):
    with pytest.raises(OptionError, match="entity_f1 does not go with labelled rows"):
        recommend(([f"good film {i}" for i in range(30)], ["a", "b"] * 15), model=str(model), metric="entity_f1")


def test_a_slow_tokenizer_is_refused():
    slow = tiny.tokenizer()
    slow.__class__ = type("Slow", (slow.__class__,), {"is_fast": False})
    with pytest.raises(ModelError, match="does not say which characters"):
        Sentences().embed(load_target(learnable()), backbone=load_backbone((tiny.bert(), slow), device="cpu"))


def test_baselines_and_probes_share_their_folds():
    features = tagged_features()
    assert (features.folds(seed=3) == sentence_folds(features.labels, groups=None, seed=3)).all()
