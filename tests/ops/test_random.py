from __future__ import annotations

import math

import numpy as np
import pytest

import nonet
from helpers import EPS, available_isas, each_isa, use_isa, use_threads
from nonet import _core

SIZES = [0, 1, 3, 4, 5, 31, 33, 100, 16384, 16385, 50003]


@pytest.fixture(autouse=True)
def _keep_state():
    before = nonet.get_rng_state()
    yield
    nonet.set_rng_state(before)


def philox(counter: list[int], seed: int) -> list[int]:
    """The paper's ten rounds on Python integers."""
    key = [seed & 0xFFFFFFFF, seed >> 32]
    c = list(counter)
    for _ in range(10):
        p, q = 0xD2511F53 * c[0], 0xCD9E8D57 * c[2]
        c = [(q >> 32) ^ c[1] ^ key[0], q & 0xFFFFFFFF, (p >> 32) ^ c[3] ^ key[1], p & 0xFFFFFFFF]
        key = [(key[0] + 0x9E3779B9) & 0xFFFFFFFF, (key[1] + 0xBB67AE85) & 0xFFFFFFFF]
    return c


def words(seed: int, offset: int, n: int) -> np.ndarray:
    blocks = [
        philox([(offset + b) & 0xFFFFFFFF, (offset + b) >> 32, 0, 0], seed) for b in range((n + 3) // 4)
    ]
    return np.array(blocks, np.uint64).reshape(-1)[:n]


@each_isa
@pytest.mark.parametrize(
    ("counter", "key", "want"),
    [  # the authors' known answers
        ("00000000 00000000 00000000 00000000", "00000000 00000000", "6627e8d5 e169c58d bc57ac4c 9b00dbd8"),
        ("ffffffff ffffffff ffffffff ffffffff", "ffffffff ffffffff", "408f276d 41c83b0e a20bc7c6 6d5451fd"),
        ("243f6a88 85a308d3 13198a2e 03707344", "a4093822 299f31d0", "d16cfe09 94fdcceb 5001e420 24126ea1"),
    ],
)
def test_known_answers(isa, counter, key, want):
    c, k, w = ([int(word, 16) for word in text.split()] for text in (counter, key, want))
    with use_isa(isa):
        assert list(_core.philox(c, k[0] | k[1] << 32)) == w
    assert philox(c, k[0] | k[1] << 32) == w


@each_isa
@pytest.mark.parametrize("n", [1, 3, 4, 17, 66, 131])
def test_uniform_is_the_high_bits_of_the_words(isa, n):
    seed, offset = 0x123456789ABCDEF0, 2**32 - 5  # the counter's carry into its second word is inside
    with use_isa(isa):
        nonet.set_rng_state(np.array([seed, offset]))
        got = nonet.rand(n).numpy()
    want = (words(seed, offset, n) >> np.uint64(8)).astype(np.float32) * np.float32(2.0**-24)
    np.testing.assert_array_equal(got, want)
    np.testing.assert_array_equal(nonet.get_rng_state(), [seed, offset + (n + 3) // 4])


@each_isa
def test_normal_is_box_muller(isa):
    n = 1027
    with use_isa(isa):
        nonet.manual_seed(77)
        got = nonet.randn(n).numpy()
    w = words(77, 0, n + 1).astype(np.float64)[: n + 1]
    r = np.sqrt(-2 * np.log((w[0::2] + 0.5) * 2.0**-32))
    t = 2 * math.pi * w[1::2] * 2.0**-32
    want = np.stack([r * np.cos(t), r * np.sin(t)], 1).reshape(-1)[:n]
    # u is rounded to 24 bits: a relative error of eps/2 in u is an absolute one of eps/2 in log u, so eps / (2 r) in r;
    # sine and cosine are within 2 eps of the exact value.
    bound = EPS / (2 * np.repeat(r, 2)[:n]) + 4 * EPS * np.maximum(np.repeat(r, 2)[:n], 1)
    assert (np.abs(got - want) <= bound).all()


DRAWS = {
    "uniform": lambda n: nonet.uniform(n, low=-3.0, high=7.0),
    "rand": lambda n: nonet.rand(n),
    "randn": lambda n: nonet.randn(n),
    "randint": lambda n: nonet.randint(-5, 11, (n,)),
    "randperm": lambda n: nonet.randperm(n),
    "bernoulli": lambda n: nonet.bernoulli(nonet.full((n,), 0.3)),
}


@pytest.mark.parametrize("name", DRAWS)
@pytest.mark.parametrize("n", SIZES)
def test_the_same_numbers_everywhere(name, n):
    def draw(isa: str, threads: int) -> np.ndarray:
        nonet.manual_seed(5)
        with use_isa(isa), use_threads(threads):
            return DRAWS[name](n).numpy()

    first = draw("scalar", 1)
    assert first.shape == (n,)
    for isa in available_isas():
        for threads in (1, 2, 3):
            got = draw(isa, threads)
            if name == "randn":  # a fused product rounds once where a plain one rounds twice
                assert (np.abs(got - first) <= 16 * EPS * np.maximum(np.abs(first), 1)).all()
                assert got.tobytes() == draw(isa, 1).tobytes()
            else:
                assert got.tobytes() == first.tobytes()


def test_element_depends_only_on_its_place():
    nonet.manual_seed(9)
    whole = nonet.randn(1000).numpy()
    nonet.manual_seed(9)
    parts = np.concatenate([nonet.randn(k).numpy() for k in (400, 8, 592)])
    np.testing.assert_array_equal(whole, parts)


def test_statistics():
    nonet.manual_seed(1)
    n = 1_000_000
    sigma = 5 / math.sqrt(n)  # five standard deviations of a mean
    u = nonet.rand(n).numpy().astype(np.float64)
    assert u.min() >= 0 and u.max() < 1
    assert abs(u.mean() - 0.5) < sigma * math.sqrt(1 / 12)
    assert abs(u.var() - 1 / 12) < sigma * math.sqrt(1 / 180)
    counts = np.bincount((u * 100).astype(int), minlength=100)
    chi = ((counts - n / 100) ** 2 / (n / 100)).sum()
    assert 99 - 5 * math.sqrt(2 * 99) < chi < 99 + 5 * math.sqrt(2 * 99)
    assert abs(np.corrcoef(u[:-1], u[1:])[0, 1]) < sigma
    z = nonet.randn(n).numpy().astype(np.float64)
    assert abs(z.mean()) < sigma
    assert abs(z.var() - 1) < sigma * math.sqrt(2)
    assert abs((z**3).mean()) < sigma * math.sqrt(15)
    assert abs((z**4).mean() - 3) < sigma * math.sqrt(96)
    assert abs((z[0::2] * z[1::2]).mean()) < 5 / math.sqrt(n / 2)
    for edge in (0.5, 1, 2, 3):
        p = math.erfc(edge / math.sqrt(2))
        assert abs((np.abs(z) > edge).mean() - p) < sigma * math.sqrt(p * (1 - p))


def test_integers():
    nonet.manual_seed(2)
    x = nonet.randint(3, 10, (70_000,)).numpy()
    assert x.dtype == np.int64 and x.min() == 3 and x.max() == 9
    counts = np.bincount(x - 3)
    assert (np.abs(counts - 10_000) < 5 * math.sqrt(10_000 * 6 / 7)).all()
    w = words(2, 0, 8)
    nonet.manual_seed(2)
    got = nonet.randint(-(2**63), 2**63 - 1, (4,)).numpy()
    want = [-(2**63) + ((int(w[2 * i]) | int(w[2 * i + 1]) << 32) * (2**64 - 1) >> 64) for i in range(4)]
    assert got.tolist() == want
    assert nonet.randint(5, (2, 3)).shape == (2, 3)
    assert nonet.randint(1, (4,)).tolist() == [0] * 4
    assert nonet.randint(0, 3, (4,), dtype="int32").dtype == "int32"


def test_permutation():
    nonet.manual_seed(3)
    for n in (0, 1, 2, 1000):
        assert sorted(nonet.randperm(n).tolist()) == list(range(n))
    seen = [tuple(nonet.permutation(3).tolist()) for _ in range(6000)]
    counts = [seen.count(p) for p in set(seen)]
    assert len(counts) == 6 and max(abs(c - 1000) for c in counts) < 5 * math.sqrt(1000)


def test_bernoulli():
    nonet.manual_seed(4)
    p = np.repeat(np.array([0.0, 1.0, 0.25], np.float32), 40_000)
    x = nonet.bernoulli(p).numpy()
    assert (x[:40_000] == 0).all() and (x[40_000:80_000] == 1).all()
    assert abs(x[80_000:].mean() - 0.25) < 5 * math.sqrt(0.25 * 0.75 / 40_000)
    assert nonet.bernoulli(nonet.full((3,), 0.5, dtype="bfloat16")).dtype == "bfloat16"


def test_range_of_a_narrow_interval():
    nonet.manual_seed(6)
    high = float(np.nextafter(np.float32(1), np.float32(2)))
    x = nonet.uniform(5000, low=1.0, high=high).numpy()
    assert (x == 1).all()
    assert (nonet.uniform(10, low=2.0, high=2.0).numpy() == 2).all()


def test_generators_and_state():
    a = nonet.Generator(11)
    b = nonet.Generator(11)
    np.testing.assert_array_equal(nonet.rand(5, generator=a).numpy(), nonet.rand(5, generator=b).numpy())
    state = nonet.get_rng_state()
    assert state.dtype == np.int64 and state.shape == (2,)
    x = nonet.randn(2, 3)
    nonet.set_rng_state(state)
    np.testing.assert_array_equal(x.numpy(), nonet.randn((2, 3)).numpy())
    nonet.manual_seed(-1)
    assert nonet.initial_seed() == 2**64 - 1
    assert not np.array_equal(nonet.rand(4).numpy(), nonet.rand(4).numpy())


def test_dtypes_and_in_place():
    nonet.manual_seed(7)
    x = nonet.rand(100, dtype="bfloat16", requires_grad=True)
    assert x.dtype == "bfloat16" and x.requires_grad
    nonet.manual_seed(7)
    np.testing.assert_array_equal(
        x.detach().numpy(), nonet.rand(100).numpy().astype(x.detach().numpy().dtype)
    )
    p = nonet.nn.Parameter(np.zeros((3, 4)))
    version = p.array.version
    assert p.normal_(2.0, 0.0) is p and (p.numpy() == 2).all()
    assert p.uniform_(-1.0, 1.0) is p and p.array.version > version
    assert nonet.rand_like(p).shape == (3, 4) and nonet.randn_like(x).dtype == "bfloat16"


def test_bad_input():
    with pytest.raises(ValueError, match="randint: low must be < high, got 3 and 3"):
        nonet.randint(3, 3, (2,))
    with pytest.raises(ValueError, match=r"bernoulli: p must be in \[0, 1\], got 1.5"):
        nonet.bernoulli(nonet.full((1,), 1.5))
    with pytest.raises(TypeError, match="bernoulli: input must be float32 or bfloat16, got int64"):
        nonet.bernoulli(np.array([1]))
    with pytest.raises(TypeError, match="uniform: output must be float32 or bfloat16, got int64"):
        nonet.rand(3, dtype="int64")
    with pytest.raises(ValueError, match="std must be >= 0"):
        nonet.normal(0.0, -1.0, (2,))
    with pytest.raises(ValueError, match="low must be <= high"):
        nonet.uniform(2, low=1.0, high=0.0)
    with pytest.raises(ValueError, match=r"set_rng_state: state must be int64 \[2\]"):
        nonet.set_rng_state([1, 2, 3])
    with pytest.raises(TypeError, match="randint: expected"):
        nonet.randint(3)
