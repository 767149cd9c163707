"""Positive controls of the shipped profile of texts: what it must call similar, because it stands for it."""

import json

import numpy as np
import pytest

from advisor.similarity.breadth import NARROW_BELOW, narrow_note
from advisor.similarity.library import describe_profile, find_profile
from advisor.similarity.passages import BANDS, SourceText, cut_passages, evenly
from advisor.similarity.similarity import measure_similarity

# In the manner of an encyclopaedia, and of nothing that exists.
ARTICLES = {
    "river": """
The Aldermere is a river in the north of the county. It rises on the eastern slope of Carn Hill at an elevation of 480
metres and flows generally south-east for 63 kilometres before it joins the Tarn near the village of Lower Esk. The
upper course runs through moorland that is grazed by sheep. Below the dam at Brackwater, which was completed in 1911
to supply drinking water to the mill towns of the valley, the river enters a narrow gorge with several small
waterfalls. Salmon were common until the middle of the nineteenth century, when pollution from tanneries and dye works
ended the fishery; they have returned since a fish ladder was opened in 1994. Floods in 1846 and 1953 destroyed most
of the older bridges. The only medieval bridge that survives, a structure of three pointed arches at Stainford, is a
listed monument.
""",
    "painter": """
Marta Lindqvist (14 March 1871 – 2 November 1946) was a Swedish painter and illustrator. Born in Uppsala as the third
daughter of a pharmacist, she studied at the Royal Academy of Fine Arts in Stockholm and, from 1895, under Jean Moreau
in Paris. Her early landscapes were shown at the Salon of 1898. She is best known for the interiors that she painted
after her return to Sweden in 1903, in which daylight falls through curtained windows on empty rooms. Critics of the
time found them cold. She also drew the illustrations for a number of children's books. In 1921 she became the second
woman to be elected to the academy. Her work is held by the National Museum and by galleries in Gothenburg, Oslo and
Chicago.
""",
    "beetle": """
Carabus montivagus is a species of ground beetle in the family Carabidae. It was described by Palliardi in 1825.
Adults are 20 to 26 millimetres long and have a bronze or dark green upper side with three rows of shallow pits on
each wing case. The beetle lives in open oak woodland and on dry grassland from the Balkans to the southern
Carpathians, usually below 1,200 metres. It hunts snails and caterpillars at night. Larvae hatch in early summer,
moult twice and pupate in chambers that they dig in loose soil. Two subspecies are recognised by most authors,
although a genetic study published in 2009 found no clear boundary between them.
""",
    "club": """
Harwick Rovers Football Club is an English association football club based in the town of Harwick. Founded in 1884 by
workers of the local railway yard, the club turned professional in 1892 and joined the Second Division four years
later. The team plays its home matches at Mill Lane, which has a capacity of 11,400. Rovers won the Third Division
North in 1932 and reached the semi-finals of the cup in 1958, where they lost to the eventual winners after extra
time. Financial trouble in the 1980s led to two relegations in three seasons. The club colours are red shirts and
white shorts. Its record goalscorer is Tommy Hale, who scored 187 goals in all competitions between 1949 and 1961.
""",
    "battle": """
The Battle of Grosswald was fought on 9 October 1796 between a French army under General Delmas and an Austrian corps
commanded by Prince Ferdinand. Both sides had marched for three days in heavy rain. The Austrians held a ridge to the
east of the town and drove back two attacks in the morning with severe losses. In the afternoon a French brigade
crossed the river at an unguarded ford, reached the road behind the ridge and forced the prince to order a retreat. He
lost about 3,000 men, eleven guns and most of his supplies. The victory opened the way to the Danube, but Delmas,
short of ammunition, did not pursue. A peace treaty was signed the following spring.
""",
    "village": """
Dolní Lhota is a municipality and village in the Ostrava District of the Czech Republic. It has about 1,500
inhabitants. The first written mention of the village is from 1377, in a deed by which it was sold to the Bishop of
Olomouc. The parish church of Saint Anne was built between 1788 and 1791 on the site of an older wooden chapel. Until
the Second World War most of the people worked in farming or in the coal mines of the neighbouring towns. The railway
station, on the line from Opava to Ostrava, was opened in 1869. There is a primary school, a library and a volunteer
fire brigade.
""",
}

# First sentences of short articles: what an encyclopaedia has most of, and its featured articles have not.
ABSTRACTS = (
    "Norvik Systems is a Norwegian company that develops navigation software for fishing vessels in Bergen.",
    "Halden & Price Limited was a British manufacturer of bicycles and, from 1921, of motorcycles.",
    "Banco Meridional is a commercial bank in Paraguay. It was founded in 1974 and has 31 branches.",
    "Kessler Brewing Company is a microbrewery and restaurant located in Duluth, Minnesota.",
    "Blue Lantern Records is an independent record label based in Leeds that specialises in folk and acoustic music.",
    "TransOural Airlines was a regional airline based in Perm, Russia. It ceased operations in 2009.",
    "Ola Brandvold (born 12 May 1981) is a Norwegian former footballer who played as a midfielder for Lyn.",
    "Anita Moreno is an American politician who has served in the New Mexico House of Representatives since 2013.",
    "Qaleh Sorkh is a village in Sarduiyeh Rural District, in Kerman Province, Iran. At the 2006 census, its "
    "population was 212, in 47 families.",
    "Eupithecia montana is a moth in the family Geometridae. It is found in Nepal and northern India.",
    "Begonia harlingii is a species of flowering plant in the family Begoniaceae, endemic to Ecuador.",
    "Silent Water is the third studio album by the Canadian band Northern Lights, released on 4 March 1997.",
    "The Last Ferry is a 1951 British drama film directed by John Harlow and starring Jean Kent.",
    "Lake Vetluga is a lake in Kostroma Oblast, Russia. It has an area of 12 square kilometres.",
    "Marshfield High School is a public secondary school in Marshfield, Oregon, United States.",
    "HMS Plover was a survey sloop of the Royal Navy, launched in 1821 and sold for breaking in 1854.",
)


def text_of(article):
    return " ".join(ARTICLES[article].split())


def bands_of(texts, tokenizer, seeds=range(3)):
    """Different passages of texts by band, cut at several places."""
    found = [{} for _ in BANDS]
    for seed in seeds:
        cut = cut_passages(SourceText(texts=tuple(texts), parts=(len(texts),)), tokenizer=tokenizer, seed=seed)
        for passages, band in zip(found, cut, strict=True):
            passages.update({passage.text: None for passage in band})
    return [list(passages) for passages in found]


def measured(texts, minilm, profile):
    encoded = minilm.encode(texts)
    return measure_similarity(
        minilm.block_features(encoded), lengths=encoded.lengths, texts=texts, profile=profile, how_to_measure=""
    )


@pytest.fixture(scope="module")
def profile(minilm):
    return find_profile(None, backbone=minilm)


def test_every_band_rests_on_hundreds_of_articles(profile):
    assert [(band.lowest, band.highest) for band in profile.bands] == list(BANDS)
    assert min(band.documents for band in profile.bands) >= 500 > NARROW_BELOW
    assert narrow_note(profile) is None
    for band in profile.bands:
        # held out by article: no two passages of one, and books, which cannot be held out, are not among them
        assert len(set(band.segments.tolist())) == len(band.segments)
        assert set(band.segments % 4) == {3}
    shown = describe_profile("wikipedia-books")
    assert [band["documents"] for band in shown["bands"]] == [band.documents for band in profile.bands]
    assert shown["megabytes"] < 1.8


def test_encyclopaedic_text_is_similar_in_every_band(profile, minilm):
    bands = bands_of([text_of(article) for article in ARTICLES], minilm.tokenizer)
    for passages in bands:
        assert len(passages) >= 10
        found = measured(passages, minilm, profile)
        assert found.score > 0.85
        assert found.verdict == "similar", (passages[0], found.score, found.interval, found.cuts)


def test_abstracts_of_short_articles_are_similar(profile, minilm):
    found = measured(list(ABSTRACTS), minilm, profile)
    assert found.score > 0.85
    assert found.verdict == "similar", (found.score, found.interval, found.cuts)


@pytest.mark.parametrize("article", sorted(ARTICLES))
def test_a_single_article_is_similar(profile, minilm, article):
    passages = [passage for band in bands_of([text_of(article)], minilm.tokenizer) for passage in band]
    found = measured(passages, minilm, profile)
    assert found.score > found.cuts[1]
    assert found.p_similar > 0.9


def test_the_reason_says_how_broad_the_source_is(profile, minilm):
    found = measured([text_of("river")[:80]] * 60, minilm, profile)
    assert "(922 documents at these texts' lengths)" in found.why
    assert not any("narrow" in warning for warning in found.warnings)
    assert found.measures["excess_knn_surprisal"]["by_band"]["17-32 tokens"]["documents"] == 922


def rows_of(path, keep):
    with path.open(encoding="utf-8") as file:
        return [row for row in map(json.loads, file) if keep(row)]


def test_fresh_wikipedia_sentences_are_similar_in_every_band(shared_data, profile, minilm):
    # the file that no passage of the profile is from
    fresh = rows_of(shared_data / "source" / "wikisplit" / "sentences.jsonl", lambda row: row["part"] == "tune")
    lengths = minilm.encode([row["text"] for row in fresh]).lengths
    for (lowest, highest), kind in zip(BANDS, ("short", "sentence", "pair", "pair"), strict=True):
        texts = [
            row["text"]
            for row, length in zip(fresh, lengths, strict=True)
            if row["kind"] == kind and lowest <= length <= highest
        ]
        found = measured([texts[i] for i in evenly(len(texts), 80)], minilm, profile)
        assert found.verdict == "similar", (lowest, found.score, found.interval, found.cuts)
        assert found.score > 0.92
        assert found.interval[1] > 0.97


def test_single_articles_of_wikipedia_are_similar(shared_data, profile, minilm):
    rows = rows_of(shared_data / "source" / "wikitext2" / "paragraphs.jsonl", lambda row: "<unk>" not in row["article"])
    names = sorted({row["article"] for row in rows}, key=lambda name: -sum(row["article"] == name for row in rows))
    for name in names[:5]:  # the longest ones
        # up to 64 tokens nothing of them is in the profile
        texts = [row["text"] for row in rows if row["article"] == name]
        bands = bands_of(texts, minilm.tokenizer, seeds=[0])[:3]
        passages = [band[i] for band in bands for i in evenly(len(band), min(len(band), 12))]
        found = measured(passages, minilm, profile)
        assert found.score > found.cuts[1], (name, found.score, found.cuts)
        assert found.p_similar > 0.9


def test_what_is_not_wikipedia_is_not_called_so(shared_data, profile, minilm):
    news = rows_of(next((shared_data / "text" / "ag_news").glob("*.jsonl")), lambda row: row["label"] == "Business")
    texts = [news[i]["text"] for i in evenly(len(news), 80)]
    found = measured(texts, minilm, profile)
    assert found.verdict == "uncertain"
    assert 0.6 < found.score < 0.8
    assert np.diff(found.interval) < 0.12
