"""Items of the smoke program: random numbers, sampling, skip-gram, GloVe, co-occurrences."""

from __future__ import annotations

import itertools

import numpy as np
import torch
from smoke_items import Items, as_good_as_plain, differentiate, equal, near
from torch import Tensor

import lexforge._library  # noqa: F401  (the ops)
from lexforge.ops._tables import padded_table
from lexforge.ops.cooccurrence import cooccurrence
from lexforge.ops.embedding.embedding_bag import embedding, embedding_bag, embedding_renorm_
from lexforge.ops.embedding.row_update import row_update_
from lexforge.ops.glove import glove_tiles, glove_train
from lexforge.ops.glove.glove_loss import glove_loss
from lexforge.ops.sampling import sampling
from lexforge.ops.similarity.cosine_top_k import cosine_top_k
from lexforge.ops.word2vec.skipgram_loss import skipgram_loss
from lexforge.ops.word2vec.skipgram_step import SkipgramState, skipgram_step_, skipgram_sync_
from lexforge.ops.word2vec.word2vec_train import Bags, HuffmanPaths, word2vec_train_
from lexforge.reference.cooccurrence import cooccurrence as counting_reference
from lexforge.reference.embedding import embedding_bag as bag_reference
from lexforge.reference.embedding import row_update as row_reference
from lexforge.reference.glove import glove_loss as glove_loss_reference
from lexforge.reference.glove import glove_train as glove_reference
from lexforge.reference.sampling import sampling as sampling_reference
from lexforge.reference.similarity import cosine_top_k as top_k_reference
from lexforge.reference.word2vec import skipgram_loss as loss_reference
from lexforge.reference.word2vec import word2vec_train as stream_reference
from lexforge.text.huffman import huffman_tree

ITEMS = Items()


# -- random numbers and sampling -----------------------------------------------------------------


def words(array: np.ndarray) -> Tensor:
    """32-bit words as int32."""
    return torch.from_numpy(np.asarray(array).astype(np.uint32).view(np.int32))


def philox(device):
    counters = np.random.default_rng(1).integers(0, 2**32, (1001, 4), dtype=np.uint64)
    found = torch.ops.lexforge._philox(words(counters).to(device), 5 + (7 << 32))
    equal(found, words(sampling_reference.philox4x32(counters, 5, 7)))


ITEMS.add("philox, counters", philox, "_philox")


def philox_run(device):
    noise, like = sampling_reference.NOISE, torch.empty(0, device=device)
    found = torch.ops.lexforge._philox_run(like, 9, 3, 2**32 - 7, noise, 2, 61, False)
    places = np.uint64(2**32 - 7) + np.arange(61, dtype=np.uint64)
    equal(found, words(sampling_reference.philox_at(9, 3, places, noise, 2)))


ITEMS.add("philox, runs", philox_run, "_philox_run")


def alias_table(device, dtype):
    weights = 1.0 / torch.arange(1, 3001, dtype=dtype)
    found = sampling.build_alias(weights.to(device))
    equal(found, words(sampling_reference.build_alias(weights.double().numpy())))


ITEMS.add("alias table, 8-byte weights", alias_table, "build_alias", dtype=torch.float64)
ITEMS.add("alias table, 4-byte weights", alias_table, "build_alias", dtype=torch.float32)


def alias_draws(device, dtype):
    table = sampling.build_alias(1.0 / torch.arange(1, 501, dtype=torch.float64, device=device))
    found = sampling.alias_sample(table, 4099, seed=3, offset=5, dtype=dtype)
    expected = sampling_reference.alias_sample(table.cpu().numpy(), 4099, 3, 5)
    equal(found, torch.from_numpy(expected))


ITEMS.add("alias draws, int32", alias_draws, "alias_sample", dtype=torch.int32)
ITEMS.add("alias draws, int64", alias_draws, "alias_sample", dtype=torch.int64)


def noise_words(device):
    random = np.random.default_rng(2)
    offsets = np.concatenate([[0], np.cumsum(random.integers(0, 10, 60))])
    positives = random.integers(0, 50, offsets[-1])
    table = sampling.build_alias(1.0 / torch.arange(1, 51, dtype=torch.float64, device=device))
    found, _ = sampling.sample_noise(
        table,
        torch.from_numpy(positives).to(device),
        torch.from_numpy(offsets).to(device),
        5,
        seed=6,
        epoch=2,
    )
    expected = sampling_reference.sample_noise(
        table.cpu().numpy(), positives, offsets, 5, seed=6, epoch=2
    )
    equal(found, torch.from_numpy(expected))


ITEMS.add("noise words", noise_words, "sample_noise")


# -- skip-gram -----------------------------------------------------------------------------------


def minibatch(device, dim: int):
    """Ragged examples of a minibatch, and two tables; a fifth of all ids are one row."""
    rows, batch, length = 97, 200, 12
    generator = torch.Generator().manual_seed(1)

    def ids(*shape):
        return (torch.rand(shape, generator=generator) ** 3 * rows).long().to(device)

    lengths = torch.randint(0, length + 1, (batch, 1), generator=generator)
    mask = (torch.arange(length) < lengths).long().to(device)
    label = torch.randint(0, 2, (batch, length), generator=generator).to(device)
    tables = [torch.randn(rows, dim, generator=generator).to(device) / 3 for _ in range(2)]
    return [ids(batch), ids(batch, length), mask, label], tables


def skipgram_losses(device, sparse):
    ids, tables = minibatch(device, 100)

    def ours(*leaves: Tensor) -> Tensor:
        return skipgram_loss(*ids, *leaves, sparse=sparse)

    def plain(*leaves: Tensor) -> Tensor:
        return loss_reference.skipgram_loss(*ids, *leaves)

    found = [x.to_dense() for x in differentiate(ours, tables)]
    exact = differentiate(plain, [x.double() for x in tables])
    return as_good_as_plain(found, differentiate(plain, tables), exact, torch.float32)


for _sparse, _backward in [(False, "backward"), (True, "backward_rows")]:
    _ops = ("skipgram_loss", f"skipgram_loss_{_backward}")
    ITEMS.add(f"skip-gram loss, {_backward}", skipgram_losses, *_ops, sparse=_sparse)


def bags(device, mode, dtype, dim):
    """Bags of 0 to 40 ids, half of them one row."""
    random = torch.Generator().manual_seed(5)
    ids = torch.randint(0, 90, (900,), generator=random)
    ids[torch.rand(900, generator=random) < 0.5] = 7
    offsets = torch.randint(0, 901, (45,), generator=random).sort()[0]
    offsets[0] = 0
    table = torch.randn(90, dim, generator=random).to(device, dtype)
    leaves = [table]
    if mode == "weighted":
        leaves.append(torch.randn(900, generator=random).to(device, dtype))
    ids, offsets = ids.to(device), offsets.to(device)

    def of(lookup, bag):
        def call(table, weights=None):
            if mode == "lookup":
                return lookup(ids, table, padding_idx=3)
            name = "sum" if mode == "weighted" else mode
            return bag(ids, table, offsets, mode=name, per_sample_weights=weights, padding_idx=3)

        return call

    ours = of(embedding, embedding_bag)
    plain = of(bag_reference.embedding, bag_reference.embedding_bag)
    exact = differentiate(plain, [x.double() for x in leaves])
    return as_good_as_plain(differentiate(ours, leaves), differentiate(plain, leaves), exact, dtype)


_BAG = ("embedding_bag", "embedding_bag_backward")
for _mode, _dtype, _dim in [
    ("lookup", torch.float32, 100),
    ("sum", torch.bfloat16, 64),
    ("weighted", torch.float32, 97),
    ("mean", torch.float32, 300),
    ("max", torch.float64, 31),
]:
    _ops = (*_BAG, "embedding_bag_weights_backward") if _mode == "weighted" else _BAG
    _of = {"mode": _mode, "dtype": _dtype, "dim": _dim}
    ITEMS.add(f"embedding bag, {_mode}", bags, *_ops, **_of)


def renormalised(device):
    table = torch.randn(60, 100, generator=torch.Generator().manual_seed(6))
    ids, exact = torch.arange(200) ** 2 % 53, table.double()
    bag_reference.embedding_renorm_(exact, ids, 9.5)
    table = table.to(device)
    embedding_renorm_(table, ids.to(device), 9.5)
    return near(table, exact, 1e-5)


ITEMS.add("embedding renorm", renormalised, "embedding_renorm_")


def neighbours(device, dtype):
    generator = torch.Generator().manual_seed(7)
    table, queries = (torch.randn(n, 100, generator=generator) for n in (3000, 70))
    table = table.to(dtype)
    _, exact = top_k_reference.cosine_top_k(table, queries, 10)
    _, scores = cosine_top_k(table.to(device), queries.to(device), 10)
    return near(scores, exact, 2e-6)


for _dtype in (torch.float32, torch.bfloat16):
    ITEMS.add(f"neighbours, {_dtype}", neighbours, "cosine_top_k", dtype=_dtype)


def row_updates(device, rule, dtype, flags):
    """A row that occurs 900 times among others; with flags, rows that do not occur step too."""
    random = torch.Generator().manual_seed(7)
    ids = torch.cat([torch.full((900,), 11), torch.randint(0, 400, (300,), generator=random)])
    gradients = (torch.randn(1200, 100, generator=random) / 30).to(dtype)
    weight = torch.randn(400, 100, generator=random).to(dtype)
    shape = (400,) if rule == "rowwise_adagrad" else (400, 100)
    given = {"first": None, "second": None, "touched": None}
    if rule != "sgd":
        given["first"] = torch.rand(shape, generator=random)
    if rule == "adam":
        given["second"] = torch.rand(shape, generator=random)
    if flags:
        given["touched"] = torch.ones(400, dtype=torch.uint8)
    factors = {"lr": 0.1, "decay": (0.9, 0.99), "fresh": (0.1, 0.01), "eps": 1e-3}
    factors["weight_decay"] = 0.01
    exact = row_reference.row_update(weight, ids, gradients, rule, **given, **factors)
    weight, ids, gradients = (t.to(device) for t in (weight, ids, gradients))
    given = {name: None if t is None else t.to(device) for name, t in given.items()}
    row_update_(weight, ids, gradients, rule, **given, **factors)
    if flags:
        equal(given["touched"], exact[3], "flags")
    for name, moment in zip(("first", "second"), exact[1:3], strict=True):
        if moment is not None:
            near(given[name], moment, 1e-5, name)
    return near(weight, exact[0], 1e-4 if dtype is torch.float32 else 0.02)


for _rule, _dtype, _flags in [
    ("sgd", torch.float32, False),
    ("nesterov", torch.float32, True),
    ("adagrad", torch.bfloat16, False),
    ("rowwise_adagrad", torch.float32, False),
    ("adam", torch.float32, True),
    ("adam", torch.bfloat16, False),
]:
    _name = f"row update, {'exact' if _flags else 'lazy'} {_rule}, {_dtype}"
    ITEMS.add(_name, row_updates, "row_update_", rule=_rule, dtype=_dtype, flags=_flags)


OPTIMIZERS = {
    "adam": lambda tables: torch.optim.Adam(tables, lr=0.01),
    "lazy_adam": lambda tables: torch.optim.SparseAdam(tables, lr=0.01),
    "sgd": lambda tables: torch.optim.SGD(tables, lr=0.01),
    "adagrad": lambda tables: torch.optim.Adagrad(tables, lr=0.01),
}


def skipgram_steps(device, optimizer):
    dim = 20
    ids, tables = minibatch(device, dim)
    ours = [padded_table(len(table), dim).to(device) for table in tables]
    for table, values in zip(ours, tables, strict=True):
        table[:, :dim] = values
    state = SkipgramState.create(*ours, optimizer)
    parameters = [torch.nn.Parameter(table.double()) for table in tables]
    stepper = OPTIMIZERS[optimizer](parameters)
    worst: dict[str, float] = {}
    for _ in range(3):
        loss = skipgram_step_(state, *ids, lr=0.01)
        stepper.zero_grad()
        exact = loss_reference.skipgram_loss(*ids, *parameters)
        exact.sum().backward()
        if optimizer == "lazy_adam":
            for parameter in parameters:
                parameter.grad = parameter.grad.to_sparse(1)
        stepper.step()
        near(loss, exact, 1e-4, "loss")
    skipgram_sync_(state)
    for table, parameter in zip((state.in_table, state.out_table), parameters, strict=True):
        # Adam divides by the gradient's size: rounding counts where that is small.
        worst = near(table[:, :dim], parameter, 2e-4, "table")
    return worst


for _optimizer in OPTIMIZERS:
    _ops = ("skipgram_step_", "skipgram_sync_")
    ITEMS.add(f"skip-gram step, {_optimizer}", skipgram_steps, *_ops, optimizer=_optimizer)


def word2vec_train(
    device, sharing, dim=100, negatives=5, losses="noise", together=0, grams=0, **more
):
    """One sentence is trained in order: equal to the reference to rounding; in groups, to the bit
    from run to run. With n-grams a word's vector is the mean of its row and up to 40 of theirs.
    """
    random, rows, length = np.random.default_rng(3), 40, 60
    tokens = (random.random(length) ** 2 * rows).astype(np.int32)
    offsets, keep = np.array([0, length]), random.uniform(0.3, 1.2, rows).astype(np.float32)
    noise = np.stack([random.integers(0, 2**32, rows), random.integers(0, rows, rows)], 1)
    noise = noise.astype(np.uint32)
    options = dict(window=5, negatives=negatives, dynamic_window=True, negative_sharing=sharing)
    options |= dict(alpha=0.05, min_alpha=0.01, tokens_before=0, total_tokens=length)
    options |= dict(seed=11, epoch=1, first_sentence=0, last_sentence=1) | more
    has = "noise" in losses, "tree" in losses
    found = huffman_tree(np.arange(rows, 0, -1) ** 2)
    sizes = (rows + grams, has[0] * rows, has[1] * (rows - 1))
    tables = [padded_table(n, dim) for n in sizes if n]
    for table in tables:
        values = random.uniform(-1, 1, (len(table), dim)) * 4 / dim**0.5
        table[:, :dim] = torch.from_numpy(values).float()
    arrays = (tokens, offsets, keep, noise.view(np.int32), *found[:2])
    *data, words, starts, nodes = (torch.tensor(x, device=device) for x in arrays)
    tree = HuffmanPaths(starts, nodes, found.longest)
    bags = None
    if grams:
        ends = np.cumsum(random.integers(1, 42, rows))
        members = random.integers(rows, rows + grams, ends[-1]).astype(np.int32)
        members[ends - 1] = np.arange(rows)
        bags = (np.concatenate([[0], ends]), members, 41, True)

    def spread(given):
        """In, out and tree, None where there is none."""
        given = iter(given)
        return [next(given) if there else None for there in (True, *has)]

    def trained():
        ours = [table.to(device, copy=True) for table in tables]
        stats = torch.zeros(3, dtype=torch.float64, device=device)
        shared = (*data, words if has[0] else None, tree if has[1] else None)
        of_bags = None
        if bags is not None:
            of_bags = Bags(*(torch.tensor(x, device=device) for x in bags[:2]), *bags[2:])
        more = {"bags": of_bags, "windows_together": together}
        word2vec_train_(*spread(ours), stats, *shared, **more, **options)
        return ours, stats

    ours, stats = trained()
    if together:
        equal(torch.cat(ours), torch.cat(trained()[0]), "two runs")
    exact = [table.double().numpy() for table in tables]
    shared = (tokens, offsets, keep, noise, found[:2])
    expected = stream_reference.word2vec_train(*spread(exact), *shared, bags=bags, **options)
    equal(stats[1:], torch.from_numpy(expected[1:]), "inputs and centres")
    if together:
        near(stats[0] / expected[0], torch.ones(()), 0.1, "loss")
        return {}
    near(stats[0] / expected[0], torch.ones(()), 1e-5, "loss")
    both = (torch.cat(ours), torch.from_numpy(np.concatenate(exact)))
    return near(*both, 2e-5, "tables")


for _sharing, _dim in itertools.product(("pair", "window"), (100, 200, 300, 500, 600)):
    _name = f"skip-gram stream, {_sharing}, dim {_dim}"
    ITEMS.add(_name, word2vec_train, "word2vec_train_", sharing=_sharing, dim=_dim)
for _sharing in ("pair", "window"):
    _name = f"skip-gram stream, {_sharing}, 20 noise words"
    ITEMS.add(_name, word2vec_train, "word2vec_train_", sharing=_sharing, negatives=20)
_VARIANTS = {
    "skip-gram stream, tree": {"losses": "tree"},
    "skip-gram stream, pair and tree": {"losses": "noise and tree"},
    "CBOW stream": {"model": "cbow"},
    "CBOW stream, noise and tree": {"model": "cbow", "losses": "noise and tree"},
}
_BAGS = {
    "skip-gram stream, bags": {},
    "skip-gram stream, bags, pair and tree": {"losses": "noise and tree"},
    "skip-gram stream, bags, window": {"sharing": "window"},
    "CBOW stream, bags, noise and tree": {"model": "cbow", "losses": "noise and tree"},
}
_VARIANTS |= {name: {"grams": 50, "alpha": 0.01, **x} for name, x in _BAGS.items()}
for _dim in (200, 500, 600):
    _options = {"sharing": "pair", "dim": _dim, "grams": 50}
    ITEMS.add(f"skip-gram stream, bags, dim {_dim}", word2vec_train, "word2vec_train_", **_options)
for (_name, _options), _dim in itertools.product(_VARIANTS.items(), (100, 300)):
    _options = {"sharing": "pair", "dim": _dim, **_options}
    ITEMS.add(f"{_name}, dim {_dim}", word2vec_train, "word2vec_train_", **_options)
for _name, _options in {"skip-gram stream, pair": {}, **_VARIANTS}.items():
    _options = {"sharing": "pair", "together": 16, **_options}
    ITEMS.add(f"{_name}, in groups", word2vec_train, "word2vec_train_", **_options)


# -- GloVe ---------------------------------------------------------------------------------------


def glove_losses(device):
    generator = torch.Generator().manual_seed(1)
    rows, dim, entries = 59, 100, 700
    leaves = [torch.randn(rows, dim, generator=generator) / dim**0.5 for _ in range(2)]
    leaves += [torch.randn(rows, generator=generator) for _ in range(2)]
    leaves = [x.to(device) for x in leaves]
    # Squares: row 0 has enough entries for several parts.
    ids = [(torch.rand(entries, generator=generator) ** 4 * rows).long() for _ in range(2)]
    counts = torch.exp(6 * torch.rand(entries, generator=generator)).to(device)
    ids = [x.to(device) for x in ids]

    def plain(*leaves: Tensor) -> Tensor:
        return glove_loss_reference.glove_loss(*leaves, *ids, counts.to(leaves[0].dtype))

    found = differentiate(lambda *leaves: glove_loss(*leaves, *ids, counts), leaves)
    exact = differentiate(plain, [x.double() for x in leaves])
    return as_good_as_plain(found, differentiate(plain, leaves), exact, torch.float32)


ITEMS.add("GloVe loss", glove_losses, "glove_loss", "glove_loss_backward")


def matrix(vocab_size: int, density: float) -> list[Tensor]:
    """row_begin, cols and values of random counts."""
    random = np.random.default_rng(4)
    rows, cols = np.nonzero(random.random((vocab_size, vocab_size)) < density)
    begins = np.concatenate([[0], np.bincount(rows, minlength=vocab_size).cumsum()])
    values = random.exponential(40, len(rows)) + 0.05
    return [torch.from_numpy(x) for x in (begins, cols.astype(np.int32), values)]


def glove_case(vocab_size: int, density: float, parts: int, dim: int, optimizer: str, dtype):
    """Two tables and a matrix in tiles, on the CPU."""
    arrays = matrix(vocab_size, density)
    part = glove_tiles.glove_deal_parts(arrays[0].diff(), parts)
    tiles = glove_tiles.glove_tiles(*arrays, part, parts=parts)
    tables = [glove_train.glove_table(vocab_size, dim, optimizer).to(dtype) for _ in range(2)]
    generator = torch.Generator().manual_seed(5)
    for table in tables:
        values = torch.rand(vocab_size, dim + 1, generator=generator, dtype=torch.float64)
        table[:, 0, : dim + 1] = (2 * values - 1) / dim**0.5
    return tables, tiles


def glove_trained(device, optimizer, dim, dtype=torch.float32):
    tables, tiles = glove_case(24, 0.3, 3, dim, optimizer, dtype)
    ours = [table.to(device, copy=True) for table in tables]
    stats = torch.zeros(2, dtype=torch.float64, device=device)
    glove_train.glove_train_(*ours, stats, tiles.to(device), dim=dim, optimizer=optimizer)

    def by_reference(kind: str) -> list[Tensor]:
        arrays = [table.numpy().astype(kind) for table in tables]
        entries = glove_reference.in_order(tiles)
        sums = glove_reference.glove_train(*arrays, entries, dim=dim, optimizer=optimizer)
        return [*map(torch.from_numpy, arrays), torch.from_numpy(sums)]

    exact, plain = by_reference("f8"), by_reference("f8" if dtype == torch.float64 else "f4")
    equal(stats[1:], exact[2][1:], "entries")
    near(stats[0] / exact[2][0].item(), torch.ones(()), 1e-5, "cost")
    result: dict[str, float] = {}
    for x, y, z in zip(ours, plain, exact[:2], strict=False):
        rounding = (y.double() - z).abs().max().item()
        result = near(x, z, 8 * rounding + 1e-6, "table")
    return result


for _optimizer, _dim in [
    *itertools.product(glove_train.OPTIMIZERS, (100,)),
    *itertools.product(("adagrad",), (200, 300, 400)),
]:
    _options = {"optimizer": _optimizer, "dim": _dim}
    ITEMS.add(f"GloVe, {_optimizer}, dim {_dim}", glove_trained, "glove_train_", **_options)
_options = {"optimizer": "adagrad", "dim": 33, "dtype": torch.float64}
ITEMS.add("GloVe, adagrad, float64", glove_trained, "glove_train_", **_options)


def glove_warps(device, dim, optimizer="adam"):
    """Warps that share a tile lose no update: adam counts them in its rows."""
    tables, tiles = glove_case(60, 0.9, 2, dim, optimizer, torch.float32)
    arrays = matrix(60, 0.9)
    ours = [table.to(device, copy=True) for table in tables]
    stats = torch.zeros(2, dtype=torch.float64, device=device)
    glove_train.glove_train_(
        *ours, stats, tiles.to(device), dim=dim, optimizer=optimizer, deterministic=False
    )
    equal(stats[1:], torch.tensor([len(arrays[1])]), "entries")
    equal(ours[0][:, 0, dim + 1], arrays[0].diff(), "updates of words")
    equal(ours[1][:, 0, dim + 1], torch.bincount(arrays[1], minlength=60), "updates of contexts")


for _dim in (10, 200, 400):
    ITEMS.add(f"GloVe, several warps a tile, dim {_dim}", glove_warps, "glove_train_", dim=_dim)


# -- co-occurrences ------------------------------------------------------------------------------


def sentences(vocab_size: int, tokens: int) -> list[np.ndarray]:
    """Half of the tokens are four words, which have long rows, the others any words."""
    random = np.random.default_rng(6)
    drawn = random.integers(0, vocab_size, tokens)
    heavy = np.linspace(0, vocab_size - 1, 4).astype(int)
    drawn = np.where(random.random(tokens) < 0.5, random.choice(heavy, tokens), drawn)
    return np.split(drawn, np.sort(random.integers(0, tokens, tokens // 20)))


def cooccurrences(
    device, tokens=600, vocab_size=50, window=10, symmetric=True, weighted=True, merged=False
):
    text = sentences(vocab_size, tokens)
    offsets = torch.from_numpy(np.cumsum([0, *map(len, text)])).to(device)
    words_of = torch.from_numpy(np.concatenate(text).astype(np.int32)).to(device)
    cuts = [0, tokens // 2, tokens] if merged else [0, tokens]
    parts = []
    for first, last in itertools.pairwise(cuts):
        index = cooccurrence.cooccurrence_index(
            words_of, offsets, first=first, last=last, vocab_size=vocab_size, window=window
        )
        parts.append(
            cooccurrence.cooccurrence_rows(
                index, window=window, symmetric=symmetric, distance_weighting=weighted
            )
        )
    found = parts[0]
    if merged:
        found = cooccurrence.cooccurrence_merge(parts, vocab_size=vocab_size)
    counts = counting_reference.cooccurrence(
        text, window, symmetric=symmetric, distance_weighting=weighted
    )
    for x, y in zip(found, counting_reference.rows(counts, 0, vocab_size), strict=True):
        equal(x, torch.as_tensor(y))


for _what, _options in {
    "few words": {},
    "one-sided": {"symmetric": False},
    "unweighted": {"weighted": False},
    "many words": {"vocab_size": 20_000, "tokens": 3000},
    "64-bit units": {"vocab_size": 20_000, "tokens": 3000, "window": 23},
    "merged": {"merged": True},
}.items():
    _ops = ("cooccurrence_index", "cooccurrence_rows")
    _ops += ("cooccurrence_merge",) if "merged" in _options else ()
    ITEMS.add(f"co-occurrences, {_what}", cooccurrences, *_ops, **_options)
