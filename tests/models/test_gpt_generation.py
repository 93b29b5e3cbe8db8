"""generate: which tokens, by which draws; the cache; text as it comes; conversations; errors."""

from __future__ import annotations

import copy
import itertools
import math

import pytest
import torch

from lexforge.gpt import GPT, Generator, GPTConfig, Template, generate
from lexforge.models.gpt.cache import Kept, KVCache, PackedPrompts
from lexforge.models.gpt.conversation import Conversation, TextStream
from lexforge.models.gpt.generation import choose
from lexforge.text.tokenizers.bpe import BPETokenizer
from lexforge.text.tokenizers.characters import CharacterTokenizer

CHARACTERS = "\n !.:ABHSTUaefghiklnorstuwy?m"
CONFIG = GPTConfig(
    24, 97, n_layer=2, n_head=2, n_embd=32, activation="gelu_tanh", initializer_range=0.4
)
PROMPTS = [[1, 2, 3], [5], [7, 8, 9, 10, 11, 12, 13]]


@pytest.fixture(autouse=True)
def one_thread():
    """These models are too small for two."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def model() -> GPT:
    return GPT(CONFIG, seed=0)


@pytest.fixture(scope="module")
def writer() -> GPT:
    """A model of characters; what it writes means nothing."""
    config = GPTConfig(48, len(CHARACTERS), 1, 2, 16, initializer_range=0.4)
    gpt = GPT(config, seed=1)
    gpt.tokenizer = CharacterTokenizer(CHARACTERS)
    return gpt


def window_by_window(model: GPT, prompt: list[int], count: int) -> list[int]:
    """The likeliest next token of the last tokens, as nanoGPT has it."""
    tokens = list(prompt)
    with torch.no_grad():
        for _ in range(count):
            window = torch.tensor([tokens[-model.config.block_size :]])
            tokens.append(int(model(window)[0, -1].argmax()))
    return tokens[len(prompt) :]


def test_tokens_are_those_of_transformers(model, tmp_path):
    transformers = pytest.importorskip("transformers")
    model.save_pretrained(tmp_path)
    peer = transformers.GPT2LMHeadModel.from_pretrained(tmp_path).eval()
    for prompt, tokens in zip(PROMPTS, generate(model, PROMPTS, 15, temperature=0), strict=True):
        given = torch.tensor([prompt])
        found = peer.generate(
            given,
            attention_mask=torch.ones_like(given),
            max_new_tokens=15,
            do_sample=False,
            pad_token_id=0,
            eos_token_id=None,
        )
        assert found[0, len(prompt) :].tolist() == tokens


@pytest.mark.parametrize("count", [0, 1, 5, 40])
def test_tokens_are_those_of_whole_windows(model, count):
    """Beyond the block, too: some sequences reach it while others do not."""
    tokens = generate(model, PROMPTS, count, temperature=0)
    assert tokens == [window_by_window(model, prompt, count) for prompt in PROMPTS]


def test_a_long_prompt_is_cropped_with_a_warning(model):
    prompt = [(7 * i) % 97 for i in range(30)]
    with pytest.warns(UserWarning, match="30 tokens is longer than the model's block: its last 24"):
        tokens = generate(model, [prompt, [4]], 3, temperature=0)
    assert tokens == [window_by_window(model, prompt, 3), window_by_window(model, [4], 3)]


def test_the_model_stays_as_it_is():
    """In training mode, with its dropout, which takes no part."""
    model = GPT(GPTConfig(16, 31, n_layer=1, n_head=1, n_embd=16, dropout=0.5), seed=0)
    before = copy.deepcopy(model.state_dict())
    first = generate(model, [[1, 2]], 6, temperature=0)
    assert model.training and first == generate(model.eval(), [[1, 2]], 6, temperature=0)
    assert all(torch.equal(x, before[name]) for name, x in model.state_dict().items())
    assert all(x.requires_grad for x in model.parameters())
    with torch.no_grad():
        model.final_norm.weight.neg_()  # a change is seen by the next call
    assert generate(model, [[1, 2]], 6, temperature=0) != first


def test_moved_weights_give_the_same_tokens(model, monkeypatch):
    expected = generate(model, PROMPTS, 12, temperature=0)
    monkeypatch.setattr("lexforge.models.gpt.generation._LEAST_MOVED", 0)
    assert generate(model, PROMPTS, 12, temperature=0) == expected
    monkeypatch.setattr("lexforge.models.gpt.generation.to_huge_pages", lambda table: False)
    generator = Generator(model)
    table = generator.model.token_embedding.weight
    assert table.data_ptr() != model.token_embedding.weight.data_ptr()
    assert generator.generate(PROMPTS, 12, temperature=0) == expected
    assert generator.generate(PROMPTS, 12, temperature=0) == expected


def test_bfloat16(model):
    """Weights and activations rounded: as near as autocast comes, whose products are the same."""
    generator = Generator(model, dtype=torch.bfloat16)
    assert generator.model.blocks[0].qkv.weight.dtype == torch.bfloat16
    assert model.blocks[0].qkv.weight.dtype == torch.float32
    assert all(len(tokens) == 30 for tokens in generator.generate(PROMPTS, 30, temperature=0))
    packed = PackedPrompts(PROMPTS, torch.device("cpu"))
    given = (packed.tokens, packed.positions, packed.cu_seqlens, packed.longest)
    with torch.no_grad():
        exact = model.encode_packed(*given)
        with torch.autocast("cpu", torch.bfloat16):
            rough = model.encode_packed(*given)
        ours = generator.model.encode_packed(*given)
    assert ours.dtype == torch.bfloat16
    error, allowed = ((x.float() - exact).square().mean() for x in (ours, rough))
    assert error <= 2 * allowed


def test_a_step_gives_what_the_whole_gives(model):
    """Scores through the cache against the causal forward, position by position."""
    tokens = [[3, 1, 4, 1, 5, 9, 2, 6], [2, 7, 1, 8, 2, 8, 1, 8]]
    with torch.no_grad():
        whole = model(torch.tensor(tokens))
        cache = KVCache(CONFIG, 2, 8, dtype=torch.float32, device=torch.device("cpu"))
        first = PackedPrompts([tokens[0][:2], tokens[1][:3]], torch.device("cpu"))
        encoded = model.encode(first.tokens, first.positions, cache.fill(first))[first.last]
        places = torch.tensor([1, 2])
        for _ in range(5):
            expected = whole[torch.arange(2), places]
            torch.testing.assert_close(model.logits(encoded), expected, rtol=1e-4, atol=1e-4)
            places = places + 1
            ids = torch.tensor([tokens[b][place] for b, place in enumerate(places.tolist())])
            encoded = model.encode(ids, cache.lengths, cache.step)
            cache.advance()
    assert cache.lengths.tolist() == [7, 8]


def test_sequences_that_end_drop_out(model):
    """The others go on as they would have; the stop is the end of an answer."""
    full = generate(model, PROMPTS, 30, temperature=0)
    stop = [full[0][1], (full[2][3], full[2][4])]

    def cut(tokens):
        for i in range(1, len(tokens) + 1):
            ends = (stop[0],), stop[1]
            if any(tuple(tokens[max(0, i - len(e)) : i]) == e for e in ends):
                return tokens[:i]
        return tokens

    found = generate(model, PROMPTS, 30, temperature=0, stop=stop)
    assert found == [cut(tokens) for tokens in full]
    assert len({len(tokens) for tokens in found}) > 1
    assert generate(model, PROMPTS[:1], 30, temperature=0, stop=full[0][0]) == [full[0][:1]]


def test_many_sequences_that_end_one_after_the_other(model):
    prompts = [[i, 2 * i] for i in range(1, 9)]
    full = generate(model, prompts, 20, temperature=1, seed=5)
    ends = [full[0][2], full[3][5], full[6][11]]
    found = generate(model, prompts, 20, temperature=1, seed=5, stop=ends)
    for tokens, whole in zip(found, full, strict=True):
        place = next((i for i, token in enumerate(whole) if token in ends), len(whole) - 1)
        assert tokens == whole[: place + 1]


def test_draws_are_told_by_the_seed_alone(model):
    first = generate(model, PROMPTS, 10, seed=3)
    assert first == generate(model, PROMPTS, 10, seed=3)
    assert first != generate(model, PROMPTS, 10, seed=4)
    assert generate(model, [PROMPTS[0]] * 2, 10)[0] != generate(model, [PROMPTS[0]] * 2, 10)[1]
    # A seed for each prompt: the same alone and in any batch.
    together = generate(model, PROMPTS, 10, seed=[8, 9, -1], top_k=20, top_p=0.9)
    for prompt, seed, tokens in zip(PROMPTS, [8, 9, 2**64 - 1], together, strict=True):
        assert generate(model, [prompt], 10, seed=[seed], top_k=20, top_p=0.9) == [tokens]


def test_streams(model):
    seen = []
    tokens = generate(model, PROMPTS, 4, stream=lambda *each: seen.append(each))
    assert seen == [(i, row[step]) for step in range(4) for i, row in enumerate(tokens)]
    steps = Generator(model).steps(PROMPTS, 1000)
    assert [[token for _, token in step] for step in itertools.islice(steps, 2)] == [
        [row[step] for row in tokens] for step in range(2)
    ]


# -- choosing -------------------------------------------------------------------------------------


def test_shares_of_draws():
    """As many draws of each token as its probability says, after temperature, top-k and top-p."""
    scores = torch.tensor([[0.0, 2.0, 1.0, -1.0, 3.0]])
    uniforms = [(i + 0.5) / 4000 for i in range(4000)]

    def shares(**options):
        found = choose(scores.expand(4000, 5), uniforms=uniforms, **options)
        return torch.bincount(torch.tensor(found), minlength=5) / 4000

    for temperature in (0.5, 1.0, 2.0):
        expected = torch.softmax(scores[0] / temperature, 0)
        assert (shares(temperature=temperature) - expected).abs().max() < 1e-3
    kept = torch.where(torch.tensor([0, 1, 0, 0, 1]) == 1, scores[0], -math.inf)
    assert (shares(top_k=2) - torch.softmax(kept, 0)).abs().max() < 1e-3
    # 0.64 and 0.23: two reach 0.8, one reaches 0.6.
    assert (shares(top_p=0.8) - torch.softmax(kept, 0)).abs().max() < 1e-3
    assert shares(top_p=0.6)[4] == 1
    # Of the three that are left 0.67 and 0.24 reach 0.9.
    assert (shares(top_k=3, top_p=0.9) - torch.softmax(kept, 0)).abs().max() < 1e-3
    assert torch.equal(shares(top_k=99), shares()) and torch.equal(shares(top_p=1.0), shares())


def test_extremes_of_draws():
    scores = torch.tensor([[0.0, -math.inf, 1.0, -math.inf]])
    assert choose(scores, uniforms=[0.0]) == [0]
    assert choose(scores, uniforms=[1 - 2**-53]) == [2]
    assert choose(scores, 1e-30, uniforms=[0.5]) == [2]
    assert choose(scores, top_k=1, uniforms=[1 - 2**-53]) == [2]
    assert choose(scores, top_p=1e-9, uniforms=[1 - 2**-53]) == [2]
    assert choose(scores.bfloat16(), 0) == [2]
    for wrong in (math.nan, math.inf):
        with pytest.raises(ValueError, match="the model's scores are not finite"):
            choose(torch.tensor([[0.0, wrong]]), 0)


# -- text -----------------------------------------------------------------------------------------


def pieces_of(tokenizer, tokens, stop="") -> list[str]:
    stream = TextStream(tokenizer, stop)
    pieces = []
    for token in tokens:
        pieces.append(stream.push(token))
        if stream.stopped:
            break
    return [*pieces, stream.finish()]


def test_characters_are_given_whole():
    """Bytes of one character are spread over tokens: nothing before the last, nothing lost."""
    tokenizer = BPETokenizer.train_from_iterator(["aa bb"], vocab_size=258)
    text = "né 日本 🙂!"
    pieces = pieces_of(tokenizer, tokenizer.encode(text))
    assert "".join(pieces) == text and "\ufffd" not in "".join(pieces)
    assert "🙂" in pieces and "日" in pieces
    cut = tokenizer.encode("🙂")[:2]
    assert pieces_of(tokenizer, cut) == ["", "", "\ufffd"]


def test_tokens_whose_text_depends_on_their_neighbours():
    tokenizers = pytest.importorskip("tokenizers")
    from lexforge.text.tokenizers.published import PublishedTokenizer

    model = tokenizers.models.BPE(
        {"<unk>": 0, "▁a": 1, "b": 2, "<0xC3>": 3, "<0xA9>": 4, "▁c": 5},
        [],
        unk_token="<unk>",
        byte_fallback=True,
    )
    inner = tokenizers.Tokenizer(model)
    inner.decoder = tokenizers.decoders.Sequence(
        [
            tokenizers.decoders.Replace("▁", " "),
            tokenizers.decoders.ByteFallback(),
            tokenizers.decoders.Fuse(),
            tokenizers.decoders.Strip(" ", 1, 0),
        ]
    )
    tokenizer = PublishedTokenizer(inner)
    tokens = [1, 2, 3, 4, 5, 5, 2]
    assert tokenizer.decode(tokens) == "abé c cb"
    pieces = pieces_of(tokenizer, tokens)
    assert "".join(pieces) == "abé c cb" and pieces[2] == "" and pieces[3] == "é"


@pytest.mark.parametrize(
    ("text", "stop", "given"),
    [
        ("one.\n\ntwo", "\n\n", "one."),
        ("a\nb\n", "\n\n", "a\nb\n"),
        ("aab", "ab", "a"),
        ("abab", "abac", "abab"),
        ("xEND", "END", "x"),
        ("END", "END", ""),
    ],
)
def test_a_stop_is_not_given_nor_its_beginning(text, stop, given):
    tokenizer = CharacterTokenizer.build(text + stop)
    pieces = pieces_of(tokenizer, tokenizer.encode(text), stop)
    assert "".join(pieces) == given


def test_a_conversation(writer):
    template = Template(user="A: {text}\n", assistant="B:", end="\n")
    talk = Conversation(Generator(writer), template, max_new_tokens=9, seed=2)
    first = "".join(talk.answer("how"))
    assert talk.turns == [("how", first)] and "\n" not in first
    second = "".join(talk.answer("so?"))
    assert talk.turns[1:] == [("so?", second)] and talk.dropped == 0
    # The second is the continuation of all that was said, by its own draws.
    text = template.prompt(talk.turns[:1], "so?")
    tokens = generate(writer, text, 9, seed=[3])[0]
    whole = writer.tokenizer.decode(tokens).split("\n")[0].removeprefix(" ")
    assert second == whole
    again = Conversation(Generator(writer), template, max_new_tokens=9, seed=2)
    assert "".join(again.answer("how")) == first
    talk.reset()
    assert talk.turns == [] and "".join(talk.answer("how")) == first


def test_a_long_conversation_forgets_its_beginning(writer):
    template = Template(user="A: {text}\n", assistant="B:", end="\n")
    talk = Conversation(Generator(writer), template, max_new_tokens=6, seed=0)
    for number in range(6):
        "".join(talk.answer("how are"))
        assert len(talk.turns) == number + 1
    assert 0 < talk.dropped < 6
    with pytest.raises(ValueError, match="fewer than the 48 tokens of the model's block"):
        talk.answer("how " * 20)
    with pytest.raises(ValueError, match="'z'"):
        talk.answer("z")
    assert len(talk.turns) == 6


def test_a_conversation_computes_nothing_again(writer, monkeypatch):
    """The answers are those of the whole text, computed anew; also after one that was stopped."""
    template = Template(user="A: {text}\n", assistant="B:", end="\n")
    computed = []
    encode = GPT.encode

    def counting(self, tokens, *others, **named):
        computed.append(len(tokens))
        return encode(self, tokens, *others, **named)

    monkeypatch.setattr(GPT, "encode", counting)
    talk = Conversation(Generator(writer), template, max_new_tokens=7, seed=4)
    asked = ["so?", "how", "a", "here", "how are", "so?"]
    for number, message in enumerate(asked):
        turns, dropped = list(talk.turns), talk.dropped
        computed.clear()
        said = "".join(itertools.islice(talk.answer(message), 2 if number == 1 else None))
        dropped = max(talk.dropped, dropped)
        text = template.prompt(turns[dropped:], message)
        if number and dropped == 0:  # not what lies before the last answer
            most = len(template.answer(turns[-1][1] + "\n") + template.question(message))
            assert sum(computed) <= most < len(text)
        tokens = generate(writer, text, min(7, 48 - len(text)), seed=[4 + number])[0]
        whole = writer.tokenizer.decode(tokens).split("\n")[0].removeprefix(" ")
        assert whole.startswith(said) and (said == whole or number == 1)
    assert talk.dropped > 0
    talk.reset()
    assert "".join(talk.answer(asked[0])) == talk.turns[0][1]
    with pytest.raises(ValueError, match="with kept there must be one prompt, got 2"):
        Generator(writer).steps(["a", "s"], 1, kept=Kept())


def test_an_answer_that_is_stopped_is_a_turn(writer):
    talk = Conversation(Generator(writer), max_new_tokens=30)
    pieces = talk.answer("how")
    said = next(pieces)
    pieces.close()
    assert talk.turns == [("how", said)]


def test_an_end_token_ends_an_answer(tmp_path):
    tokenizer = BPETokenizer.train_from_iterator(
        ["aa bb"], vocab_size=259, special_tokens=["<|endoftext|>"]
    )
    end = tokenizer.tokens.index("<|endoftext|>")
    model = GPT(GPTConfig(64, len(tokenizer), 1, 1, 8), seed=0)
    model.tokenizer = tokenizer
    with torch.no_grad():  # whatever comes before
        model.final_norm.weight.zero_()
        model.final_norm.bias.fill_(1.0)
        model.token_embedding.weight[end] = 100.0
    talk = Conversation(Generator(model), max_new_tokens=5)
    assert list(talk.answer("aa")) == [] and talk.turns == [("aa", "")]


# -- errors ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("error", "match", "changes"),
    [
        (TypeError, "prompts must be texts or token numbers, got int", {"prompts": 3}),
        (TypeError, "prompt 0 must be a text or token numbers, got int", {"prompts": [3]}),
        (ValueError, "prompt 1 has no tokens", {"prompts": [[1], []]}),
        (IndexError, r"tokens must be in 0..96, got 97 in prompt 1", {"prompts": [[1], [97]]}),
        (IndexError, r"got -1 in prompt 0", {"prompts": [[-1]]}),
        (TypeError, "a token must be an integer, got 1.5", {"prompts": [[1.5]]}),
        (ValueError, "the model has no tokenizer: prompts must be token", {"prompts": "text"}),
        (ValueError, "max_new_tokens must be >= 0, got -1", {"max_new_tokens": -1}),
        (TypeError, "max_new_tokens must be an integer", {"max_new_tokens": 1.5}),
        (ValueError, "temperature must be finite and >= 0, got -1", {"temperature": -1}),
        (ValueError, "temperature must be finite", {"temperature": math.nan}),
        (ValueError, "top_k must be >= 1, got 0", {"top_k": 0}),
        (ValueError, "top_p must be above 0, got 0", {"top_p": 0}),
        (ValueError, "top_p must be 0 to 1, got 1.5", {"top_p": 1.5}),
        (ValueError, "seed must be one, or 1 for 1 prompts, got 2", {"seed": [1, 2]}),
        (TypeError, "seed must be an integer", {"seed": "1"}),
        (TypeError, "stop must be an integer", {"stop": "."}),
        (ValueError, "stop must be tokens or sequences of them", {"stop": [[]]}),
        (ValueError, "dtype must be float32 or bfloat16", {"dtype": torch.float16}),
        (TypeError, "model must be a GPT, got Linear", {"model": torch.nn.Linear(1, 1)}),
    ],
)
def test_errors(error, match, changes, model):
    given = {"model": model, "prompts": [[1, 2]], "max_new_tokens": 2} | changes
    with pytest.raises(error, match=match):
        generate(**given)


def test_scores_that_are_no_numbers_are_an_error(model):
    broken = copy.deepcopy(model)
    with torch.no_grad():
        broken.blocks[1].contraction.bias[0] = math.nan
    with pytest.raises(ValueError, match="the model's scores are not finite: nan"):
        generate(broken, [[1]], 2)


def test_texts(writer):
    tokens = generate(writer, ["how", "u"], 5, seed=1)
    numbers = [writer.tokenizer.encode(text) for text in ("how", "u")]
    assert tokens == generate(writer, numbers, 5, seed=1)
    assert generate(writer, "how", 5, seed=1) == tokens[:1]
    assert generate(writer, torch.tensor(numbers[0]), 5, seed=1) == tokens[:1]
    with pytest.raises(ValueError, match=r"prompt 1: characters must be of the .* 'é'"):
        generate(writer, ["how", "é"], 5)
