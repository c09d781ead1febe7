import codecs
import pickle

import numpy as np
import pytest
from sklearn.datasets import fetch_20newsgroups
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.utils import Bunch

from sktreevae.datasets import fetch_20newsgroups_tfidf
from sktreevae.exceptions import InvalidParameterError

POST = """From: someone@somewhere
Subject: header{0}

In article <1> someone writes:
> quoted{0}

The {1} is a {1} of {2}.

--
signature of footer{0}
"""


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """Return a folder with few posts, stored as scikit-learn stores them."""
    path = tmp_path_factory.mktemp("home")
    topics = ["comp.graphics", "rec.autos", "sci.space"]
    cache = {}
    for part, n in (("train", 30), ("test", 12)):
        cache[part] = Bunch(
            data=[
                POST.format(i, f"word{i % 7}{part}", topics[i % 3].replace(".", ""))
                for i in range(n)
            ],
            target=np.arange(n) % 3,
            target_names=topics,
            filenames=np.arange(n).astype(str),
        )
    content = codecs.encode(pickle.dumps(cache), "zlib_codec")
    (path / "20news-bydate_py3.pkz").write_bytes(content)
    return path


@pytest.mark.parametrize("subset", ["train", "test", "all"])
def test_terms_and_weights_are_those_of_the_training_part(home, subset):
    bunch = fetch_20newsgroups_tfidf(data_home=home, subset=subset)
    posts = {
        part: fetch_20newsgroups(
            data_home=home, subset=part, remove=("headers", "footers", "quotes")
        )
        for part in ("train", "test")
    }
    chosen = list(posts.values()) if subset == "all" else [posts[subset]]
    vectorizer = TfidfVectorizer().fit(posts["train"].data)
    expected = vectorizer.transform(sum((part.data for part in chosen), []))
    assert np.allclose(bunch.data.toarray(), expected.toarray(), atol=1e-6)
    assert np.array_equal(bunch.target, np.hstack([p.target for p in chosen]))
    assert bunch.feature_names == list(vectorizer.get_feature_names_out())


def test_headers_footers_and_quotes_are_removed(home):
    def stems(**settings):
        names = fetch_20newsgroups_tfidf(data_home=home, **settings).feature_names
        return {name.rstrip("0123456789") for name in names}

    removed = {"header", "footer", "quoted"}
    assert not stems() & removed
    assert removed <= stems(remove=())


def test_frames_are_sparse(home):
    bunch = fetch_20newsgroups_tfidf(data_home=home, as_frame=True)
    assert bunch.data.sparse.density < 1
    assert bunch.frame.columns.tolist() == [*bunch.feature_names, "target"]


def test_missing_posts_are_reported(tmp_path):
    with pytest.raises(OSError, match="20Newsgroups dataset not found") as error:
        fetch_20newsgroups_tfidf(data_home=tmp_path, download_if_missing=False)
    assert str(tmp_path / "20news_home/20news-bydate.tar.gz") in str(error.value)
    assert "https://ndownloader.figshare.com/files/5975967" in str(error.value)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"remove": ("header",)}, r"remove must be a tuple of .* got \('header',\)"),
        ({"subset": "valid"}, "subset must be one of"),
    ],
)
def test_bad_parameters_are_refused(home, settings, message):
    with pytest.raises(InvalidParameterError, match=message):
        fetch_20newsgroups_tfidf(data_home=home, **settings)
