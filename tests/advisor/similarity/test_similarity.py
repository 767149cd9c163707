import dataclasses
import json

import numpy as np
import pytest

from advisor.similarity.library import find_profile
from advisor.similarity.profile import Band, SourceProfile
from advisor.similarity.similarity import band_of, ladder_positions, measure_similarity

# Two dimensions, one block, k = 1: a text is an angle, and its distance to a source row is 1 - cos of the difference.
# Source rows lie at 0 degrees; held-out rows at distance .1, shuffled words at .15, random letters at 1.0.
HELD_OUT, SHUFFLED, LETTERS = 0.1, 0.15, 1.0


def band(lowest, highest, *, letters=LETTERS):
    rows = 200
    return Band(
        lowest=lowest,
        highest=highest,
        reference=np.tile(np.array([127, 0], dtype=np.int8), (1, 300, 1)),
        held_out=np.full((1, rows), HELD_OUT, dtype=np.float32),
        segments=np.arange(rows, dtype=np.int32) // 10,
        shuffled=np.full((1, rows), SHUFFLED, dtype=np.float32),
        letters=np.full((1, rows), letters, dtype=np.float32),
    )


def profile(*, stage_two=(), bands=None):
    return SourceProfile(
        name="angles",
        description="rows at 0 degrees",
        model_id="m",
        model_sha256="0",
        pooling="mean",
        n_blocks=1,
        width=2,
        max_length=128,
        blocks=(0,),
        k=1,
        bands=bands or (band(8, 16), band(17, 32)),
        projection=np.eye(2, dtype=np.float32)[None],
        scale=np.full((1, 2), 1 / 127, dtype=np.float32),
        trigrams={"the": 500, "he ": 300, " th": 400},
        trigram_letters=0.8,
        stage_two=stage_two,
        content_sha256="0",
        seed=0,
    )


def at_distance(distances):
    """(1, n, 2) features at these cosine distances from the source rows."""
    cosine = 1 - np.asarray(distances)
    return np.stack([cosine, np.sqrt(1 - cosine**2)], axis=1)[None]


def measure(distances, *, texts=None, lengths=None, of=None, n=100):
    distances = np.resize(np.atleast_1d(distances), n)
    return measure_similarity(
        at_distance(distances),
        lengths=np.full(n, 12) if lengths is None else np.asarray(lengths),
        texts=["the the"] * n if texts is None else texts,
        profile=of or profile(),
        how_to_measure="advisor source build",
    )


@pytest.mark.parametrize(
    ("distance", "score", "verdict"),
    [
        (HELD_OUT, 1.0, "similar"),
        (HELD_OUT * 10**0.2, 0.8, "similar"),  # log scale: the far end is ten times the held-out distance
        (HELD_OUT * 10**0.4, 0.6, "uncertain"),
        (HELD_OUT * 10**0.75, 0.25, "dissimilar"),
        (LETTERS, 0.0, "dissimilar"),
        (1.9, 0.0, "dissimilar"),  # beyond the far end: clipped
    ],
)
def test_the_score_is_the_place_on_the_ladder(distance, score, verdict):
    measured = measure(distance)
    assert measured.score == pytest.approx(score, abs=1e-3)
    assert measured.verdict == verdict
    assert measured.cuts == (pytest.approx(0.5), pytest.approx(0.75))
    assert measured.interval[0] <= measured.score <= measured.interval[1]


def test_p_similar_runs_from_cut_to_cut():
    assert measure(HELD_OUT * 10**0.2).p_similar == pytest.approx(1.0)
    assert measure(HELD_OUT * 10**0.4).p_similar == pytest.approx(0.4, abs=1e-3)
    assert measure(HELD_OUT * 10**0.6).p_similar == pytest.approx(0.0)


def test_the_verdict_is_uncertain_where_the_interval_straddles_a_cut():
    mixed = np.array([HELD_OUT, HELD_OUT * 10**0.44])  # on average 0.78, above the cut of 0.75
    many, few = measure(mixed, n=1000), measure(mixed, n=20)
    assert many.verdict == "similar"
    assert few.verdict == "uncertain"
    assert few.interval[1] - few.interval[0] > 4 * (many.interval[1] - many.interval[0])


def test_uncertainty_of_the_source_widens_the_interval():
    noisy = band(8, 16)
    spread = np.repeat(np.exp(np.random.default_rng(0).normal(0, 0.3, 20)), 10)  # stretches differ, not single rows
    noisy = dataclasses.replace(noisy, held_out=(noisy.held_out * spread).astype(np.float32))
    sharp, wide = measure(0.2), measure(0.2, of=profile(bands=(noisy,)))
    assert sharp.interval[1] - sharp.interval[0] < 1e-6
    assert wide.interval[1] - wide.interval[0] > 0.04


def test_rows_are_compared_with_the_band_they_fall_in_else_the_nearest():
    of = profile(bands=(band(8, 16), band(33, 64)))
    assert band_of(np.array([3, 8, 16, 18, 32, 33, 64, 500]), of).tolist() == [0, 0, 0, 0, 1, 1, 1, 1]
    far_in_long = profile(bands=(band(8, 16), dataclasses.replace(band(17, 32), held_out=np.full((1, 200), 0.4))))
    lengths = np.array([12] * 75 + [20] * 25)
    measured = measure(0.4, lengths=lengths, of=far_in_long)
    raw = measured.measures["excess_knn_surprisal"]
    assert raw["value"] == pytest.approx(0.75 * np.log(4), abs=1e-3)
    assert raw["by_band"]["8-16 tokens"]["rows"] == 75
    assert raw["by_band"]["17-32 tokens"]["value"] == pytest.approx(0.0, abs=1e-3)


def test_cuts_follow_the_ladder_at_the_targets_own_lengths():
    of = profile(bands=(band(8, 16, letters=HELD_OUT * 10**0.5), band(17, 32, letters=HELD_OUT * 10**1.0)))
    short = measure(HELD_OUT * 10**0.5, of=of)  # as far as random letters of the same length
    assert short.cuts[0] == pytest.approx(1 - 0.5 * 0.5 / 0.75, abs=1e-3)
    assert short.verdict == "dissimilar"
    assert measure(HELD_OUT * 10**0.2, of=of, lengths=np.full(100, 20)).verdict == "similar"


def test_what_stage_two_may_have_held_is_at_most_uncertain():
    of = profile(stage_two=(("reddit", 726_484_430),))
    english = measure(LETTERS, of=of)
    assert english.verdict == "uncertain"
    assert english.p_similar == 0.5
    assert english.score == pytest.approx(0.0, abs=1e-3)  # the number is not touched
    assert "trigrams are those of the source's language" in english.why
    assert "does not cover stage 2" in english.why
    assert "reddit 726 M" in english.why
    other = measure(LETTERS, of=of, texts=["xyz xyz"] * 100)
    assert other.verdict == "dissimilar"
    assert other.p_similar == 0.0
    assert "at most uncertain" not in other.why


def test_support_must_agree_before_data_is_called_far():
    of = profile(stage_two=(("reddit", 1_000_000),))
    # most rows inside the source's radius, a few so far that the mean is far too
    mostly_inside = np.array([0.09] * 6 + [1.9] * 4)
    far_bands = tuple(dataclasses.replace(b, letters=np.full((1, 200), 0.3, dtype=np.float32)) for b in of.bands)
    measured = measure(mostly_inside, of=dataclasses.replace(of, bands=far_bands), texts=["xyz xyz"] * 100)
    assert measured.score == pytest.approx(0.0, abs=0.05)
    assert measured.verdict == "uncertain"
    assert "60% of the rows lie inside the source's support" in measured.why


def test_measures_that_cannot_be_taken_are_gaps_with_a_reason():
    measured = measure(0.2, texts=[""] * 100, n=100, of=profile(bands=(band(8, 16),)))
    assert measured.measures["trigram_distance"] == {"value": None, "why": "the texts are too short to have trigrams"}
    few = measure(0.2, n=3)
    assert few.measures["frechet_infinity"]["value"] is None
    assert "rows" in few.measures["frechet_infinity"]["why"]


def test_trigrams_are_compared_with_as_many_of_the_source():
    of = profile()
    trigrams = measure(0.1, of=of, texts=["the"] * 2 + [""] * 98).measures["trigram_distance"]
    # six trigrams of the source itself are some way off by chance; that much is taken off
    assert trigrams["source_itself"] > 0
    beyond = (trigrams["value"] - trigrams["source_itself"]) / (1 - trigrams["source_itself"])
    assert trigrams["beyond_sampling"] == pytest.approx(max(beyond, 0), abs=1e-3)
    assert trigrams["far_above"] == 0.4


def test_rows_outside_the_bands_are_warned_of():
    assert measure(0.1).warnings == ()
    assert "75% of the texts have fewer than 8 tokens" in measure(0.1, lengths=[3, 3, 3, 9] * 25).warnings[0]
    assert "50% of the texts have more than 32 tokens" in measure(0.1, lengths=[33, 9] * 50).warnings[0]
    gap = profile(bands=(band(8, 16), band(33, 64)))
    assert "holds too few passages" in measure(0.1, lengths=[20] * 100, of=gap).warnings[0]
    assert "rests on 10 texts only" in measure(0.1, n=10).warnings[0]


def test_without_a_profile_nothing_is_measured_and_the_command_is_said():
    measured = measure_similarity(
        at_distance([0.1]),
        lengths=np.array([9]),
        texts=["a"],
        profile=None,
        how_to_measure="advisor recommend x --source C",
    )
    assert measured.verdict == "unmeasured"
    assert (measured.score, measured.interval, measured.p_similar, measured.cuts) == (None, None, None, None)
    assert measured.why.endswith("advisor recommend x --source C")


def test_a_model_that_cannot_tell_letters_from_its_source_gives_no_score():
    measured = measure(0.1, of=profile(bands=(band(8, 16, letters=HELD_OUT),)))
    assert measured.verdict == "unmeasured"
    assert measured.score is None
    assert "do not tell random letters" in measured.why


def test_no_rows_are_refused():
    with pytest.raises(ValueError, match="no target rows"):
        measure_similarity(np.zeros((1, 0, 2)), lengths=np.zeros(0), texts=[], profile=profile(), how_to_measure="")


def test_the_same_seed_gives_the_same_record_and_it_is_json():
    first, second = measure([0.1, 0.3]), measure([0.1, 0.3])
    assert first == second
    assert json.loads(json.dumps(first.to_json()))["interval"] == list(first.interval)


def test_ladder_positions_are_excesses_in_nats():
    ladder = ladder_positions(profile(), profile().bands[0])
    assert ladder == {
        "halves": 0.0,
        "shuffled": pytest.approx(np.log(1.5), abs=1e-3),
        "letters": pytest.approx(np.log(10), abs=1e-3),
    }


ENCYCLOPEDIC = [
    "The river rises in the northern hills and flows south for eighty miles before it reaches the sea.",
    "The castle was built in the twelfth century by the first Earl and rebuilt after a fire in 1645.",
    "He was elected to the House of Commons in 1832 and served as a minister until his death.",
    "The species is found in the forests of eastern Asia, where it feeds on insects and small fruit.",
    "After the war the regiment returned to England and was disbanded in the following spring.",
    "She studied painting in Paris and exhibited her first works at the age of twenty-three.",
    "The railway line was opened in 1871 and closed to passengers nearly a hundred years later.",
    "The battle ended in a victory for the king, whose army lost fewer than two hundred men.",
]
POLISH = [
    "Jutro rano pojedziemy nad jezioro, bo pogoda ma być bardzo ładna.",
    "Nie wiem, dlaczego ten sklep jest zamknięty w każdą środę po południu.",
    "Moja siostra mieszka w małym mieszkaniu niedaleko dworca kolejowego.",
    "Dziękuję za wczorajszy obiad, wszystko było naprawdę pyszne i świeże.",
    "Zapomniałem kluczy i musiałem czekać dwie godziny przed drzwiami.",
    "Czy mógłbyś mi powiedzieć, o której godzinie odjeżdża ostatni autobus?",
]


def test_real_text_lands_where_it_should(minilm):
    own = find_profile(None, backbone=minilm)
    results = {}
    for name, texts in (("encyclopedic", ENCYCLOPEDIC), ("polish", POLISH)):
        encoded = minilm.encode(texts)
        results[name] = measure_similarity(
            minilm.block_features(encoded), lengths=encoded.lengths, texts=texts, profile=own, how_to_measure=""
        )
    assert results["encyclopedic"].score > 0.85
    assert results["encyclopedic"].p_similar > 0.8
    assert results["polish"].verdict == "dissimilar"
    assert results["polish"].score < 0.4
