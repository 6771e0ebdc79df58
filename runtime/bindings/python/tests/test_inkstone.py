"""What the package promises, on a small model.

INKSTONE_STORY is its file, INKSTONE_GGUF what it was converted from, INKSTONE the command line program.
"""

import json
import os
import struct
import subprocess
import tempfile
import threading
import time
import unittest
from pathlib import Path

import inkstone

STORY = os.environ.get("INKSTONE_STORY")
GGUF = os.environ.get("INKSTONE_GGUF")
PROGRAM = os.environ.get("INKSTONE")
PROMPT = "Once upon a time"


@unittest.skipUnless(STORY, "INKSTONE_STORY names no model")
class Test(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.model = inkstone.Model(STORY)
        cls.addClassCleanup(cls.model.close)

    def session(self, **config):
        session = self.model.session(**config)
        self.addCleanup(session.close)
        return session


class Streaming(Test):
    @unittest.skipUnless(PROGRAM, "INKSTONE names no program")
    def test_streams_what_the_program_prints(self):
        command = [PROGRAM, "-q", "run", STORY, PROMPT, "--temp", "0", "-n", "64"]
        printed = subprocess.run(command, check=True, capture_output=True, encoding="utf-8").stdout
        pieces = list(self.session().stream(PROMPT, limit=64))
        self.assertGreater(len(pieces), 16)
        self.assertEqual("".join(pieces).strip(), printed.strip())

    def test_answer_tells_how_it_ended(self):
        answer = self.session().stream(PROMPT, limit=8)
        text = answer.read()
        self.assertEqual(answer.text, text)
        self.assertEqual(answer.finish, inkstone.Finish.LIMIT)
        self.assertEqual(answer.stats.tokens, 8)
        self.assertEqual(list(answer), [])

    def test_stop_text_ends_the_answer_and_does_not_belong_to_it(self):
        answer = self.session().stream(PROMPT, limit=64, stops=[" little"])
        self.assertNotIn("little", answer.read())
        self.assertEqual(answer.finish, inkstone.Finish.STOP_TEXT)

    def test_same_seed_draws_the_same(self):
        texts = []
        for _ in range(2):
            session = self.session()
            session.sampling(temperature=0.9, top_p=0.95, seed=7)
            texts.append(session.stream(PROMPT, limit=32).read())
        self.assertEqual(*texts)
        self.assertNotEqual(texts[0], self.session().stream(PROMPT, limit=32).read())

    def test_text_begins_once(self):
        session = self.session()
        session.feed(PROMPT)
        session.feed("there was")
        self.assertEqual(session.text, PROMPT + " there was")
        self.assertEqual(session.tokens.count(session.tokens[0]), 1)

    def test_prompt_keeps_what_was_run(self):
        session = self.session()
        session.stream(PROMPT, limit=4).read()
        tokens = self.model.tokenize(PROMPT)
        self.assertEqual(session.prompt(tokens), len(tokens))


@unittest.skipUnless(PROGRAM and GGUF, "INKSTONE or INKSTONE_GGUF is not set")
class Chatting(unittest.TestCase):
    TEMPLATE = (
        "{% if not messages %}{{ raise_exception('nobody speaks') }}{% endif %}"
        "{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}assistant:"
    )

    @classmethod
    def setUpClass(cls):
        folder = tempfile.TemporaryDirectory()
        cls.addClassCleanup(folder.cleanup)
        gguf, ink = Path(folder.name) / "chat.gguf", Path(folder.name) / "chat.ink"
        gguf.write_bytes(with_template(Path(GGUF).read_bytes(), cls.TEMPLATE))
        command = [PROGRAM, "-q", "convert", gguf, "--weights", "q4", "-o", ink]
        subprocess.run(command, check=True, capture_output=True)
        cls.model = inkstone.Model(ink)
        cls.addClassCleanup(cls.model.close)

    def test_conversation_is_rendered_and_what_was_run_is_kept(self):
        self.assertTrue(self.model.has_template)
        talk = [{"role": "user", "content": "Tell a “story”."}]
        self.assertEqual(self.model.render_chat(talk).rstrip(), "user: Tell a “story”.\nassistant:")
        with self.model.session() as session:
            first = session.chat(talk, limit=12)
            self.assertTrue(first.read())
            talk += [{"role": "assistant", "content": "No."}, {"role": "user", "content": "More."}]
            whole = len(self.model.tokenize(self.model.render_chat(talk)))
            second = session.chat(talk, limit=4)
            self.assertTrue(second.read())
        self.assertLess(second.stats.prompt_tokens, whole - first.stats.prompt_tokens // 2)

    def test_template_that_refuses_is_an_error(self):
        with self.model.session() as session:
            with self.assertRaisesRegex(inkstone.InkstoneError.Invalid, "nobody speaks"):
                session.chat([])


def with_template(gguf, template):
    """The GGUF file with a chat template, put before its other records and as long as keeps its data aligned."""
    key = b"tokenizer.chat_template"
    template = template.encode()
    template += b" " * (-(8 + len(key) + 4 + 8 + len(template)) % 32)
    record = struct.pack("<Q", len(key)) + key + struct.pack("<IQ", 8, len(template)) + template
    tensors, records = struct.unpack_from("<QQ", gguf, 8)
    return gguf[:8] + struct.pack("<QQ", tensors, records + 1) + record + gguf[24:]


class Cancelling(Test):
    def test_cancel_from_another_thread_ends_the_answer(self):
        session = self.session(shift_keep=8)
        answer = session.stream(PROMPT, ignore_stops=True)
        canceller = threading.Timer(0.2, session.cancel)
        canceller.start()
        began = time.monotonic()
        text = answer.read()
        canceller.join()
        self.assertEqual(answer.finish, inkstone.Finish.CANCELLED)
        self.assertLess(time.monotonic() - began, 10)
        self.assertTrue(text)
        self.assertTrue(session.stream(limit=4).read(), "the session goes on")

    def test_cancel_is_heard_by_what_follows_and_can_be_taken_back(self):
        session = self.session()
        session.feed(PROMPT)
        session.cancel()
        answer = session.answer(limit=4)
        answer.read()
        self.assertEqual(answer.finish, inkstone.Finish.CANCELLED)
        session.cancel()
        self.assertTrue(session.uncancel())
        self.assertFalse(session.uncancel())
        self.assertTrue(session.answer(limit=4).read())


class Failing(Test):
    def test_errors_have_types_and_say_what_and_where(self):
        error = inkstone.InkstoneError
        with self.assertRaisesRegex(error.NotFound, "nowhere.ink"):
            inkstone.Model("nowhere.ink")
        with self.assertRaises(error.NotAModel):
            inkstone.Model(__file__)
        session = self.session(context=16)
        with self.assertRaises(error.ContextFull):
            session.feed([1] * 17)
        with self.assertRaises(error.Invalid):
            session.feed([self.model.vocabulary])
        with self.assertRaises(error.Invalid):
            session.sampling(top_p=2.0)
        with self.assertRaises(error.Invalid):
            session.rewind(5)
        with self.assertRaises(error.NotFound):
            session.load("nowhere.state")
        with self.assertRaises(error.Unsupported):
            session.chat([{"role": "user", "content": "Hello"}])
        for kind in (error.NotFound, error.Invalid, error.ContextFull):
            self.assertTrue(issubclass(kind, error))

    def test_what_is_closed_says_so(self):
        with self.model.session(context=16) as session:
            session.feed(PROMPT)
        with self.assertRaisesRegex(ValueError, "session is closed"):
            session.feed(PROMPT)

    def test_a_mistake_leaves_the_session_usable(self):
        session = self.session(context=32)
        with self.assertRaises(inkstone.InkstoneError.ContextFull):
            session.feed([1] * 33)
        self.assertTrue(session.stream(PROMPT, limit=4).read())


class Constraining(Test):
    def test_answer_is_a_document_of_the_schema(self):
        schema = {
            "type": "object",
            "properties": {"good": {"type": "boolean"}, "name": {"enum": ["Lily", "Tom"]}},
            "required": ["good", "name"],
            "additionalProperties": False,
        }
        for given in (schema, json.dumps(schema)):
            answer = self.session().stream(PROMPT, json_schema=given)
            value = json.loads(answer.read())
            self.assertEqual(answer.finish, inkstone.Finish.STOP)
            self.assertIs(type(value["good"]), bool)
            self.assertIn(value["name"], ["Lily", "Tom"])

    def test_other_grammars(self):
        gbnf = 'root ::= "yes" | "no"'
        self.assertIn(self.session().stream(PROMPT, gbnf=gbnf).read(), ["yes", "no"])
        self.assertIn(self.session().stream(PROMPT, lark='start: "yes" | "no"').read(), ["yes", "no"])
        self.assertRegex(self.session().stream(PROMPT, regex="[0-9]{3}").read(), "^[0-9]{3}$")
        with self.assertRaises(ValueError):
            self.session().stream(PROMPT, gbnf=gbnf, regex="[0-9]{3}")

    def test_what_is_no_schema_is_refused(self):
        for schema in ("{", '{"type": "nothing"}'):
            with self.assertRaises(inkstone.InkstoneError.Invalid):
                self.session().stream(PROMPT, json_schema=schema)


class Adapting(Test):
    def adapter(self, folder):
        """An adapter of rank 2 over the values of the first layer, as PEFT writes it, then as a file of ours."""
        peft = Path(folder, "peft")
        peft.mkdir()
        config = {"peft_type": "LORA", "task_type": "CAUSAL_LM", "r": 2, "lora_alpha": 4, "target_modules": ["v_proj"]}
        Path(peft, "adapter_config.json").write_text(json.dumps(config))
        header, data = {}, b""
        for name, shape in (("A", [2, 64]), ("B", [32, 2])):
            numbers = [(i * 7 % 11 - 5) / 10 for i in range(shape[0] * shape[1])]
            begin, data = len(data), data + struct.pack(f"<{len(numbers)}f", *numbers)
            tensor = f"base_model.model.model.layers.0.self_attn.v_proj.lora_{name}.weight"
            header[tensor] = {"dtype": "F32", "shape": shape, "data_offsets": [begin, len(data)]}
        header = json.dumps(header).encode()
        Path(peft, "adapter_model.safetensors").write_bytes(struct.pack("<Q", len(header)) + header + data)
        path = Path(folder, "adapter.ink")
        command = [PROGRAM, "-q", "adapter", "import", peft, "--base", STORY, "-o", path]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        return path

    @unittest.skipUnless(PROGRAM, "INKSTONE names no program")
    def test_attached_adapter_changes_its_model_alone(self):
        def told(model):
            with model.session() as session:
                return session.stream(PROMPT, limit=48).read()

        before = told(self.model)
        with tempfile.TemporaryDirectory() as folder:
            path = self.adapter(folder)
            with self.model.attach(path) as taught, self.model.attach(path, scale=0.0) as same:
                self.assertNotEqual(told(taught), before)
                self.assertEqual(told(same), before)
            with self.assertRaises(inkstone.InkstoneError):
                self.model.attach(STORY)
        self.assertEqual(told(self.model), before)


class Embedding(Test):
    def test_vectors_have_length_one_and_tell_texts_apart(self):
        session = self.session(embeddings=True)
        day, sun, other = map(session.embed, ["a sunny day", "a sunny day!", "Tom was very sad"])
        for vector in (day, sun, other):
            self.assertAlmostEqual(float(vector @ vector), 1, places=5)
        self.assertGreater(float(day @ sun), float(day @ other))
        self.assertNotEqual(session.embed("a sunny day", inkstone.Pooling.LAST).tolist(), day.tolist())
        with self.assertRaises(inkstone.InkstoneError):
            session.stream(PROMPT, limit=1).read()
        with self.assertRaises(inkstone.InkstoneError):
            self.session().embed("a sunny day")


class State(Test):
    def test_logits_are_finite_one_for_each_token_and_choose_the_next(self):
        try:
            import numpy
        except ImportError:
            self.skipTest("no NumPy here")
        session = self.session()
        with self.assertRaises(inkstone.InkstoneError.Invalid):
            session.logits()
        session.feed(PROMPT)
        logits = session.logits()
        self.assertEqual((logits.shape, logits.dtype), ((self.model.vocabulary,), numpy.float32))
        self.assertTrue(numpy.isfinite(logits).all())
        numpy.testing.assert_array_equal(logits, session.logits())
        session.stream(limit=1).read()
        self.assertEqual(session.tokens[-1], logits.argmax())

    def test_logits_after_an_answer_are_those_of_its_tokens_fed(self):
        one, other = self.session(), self.session()
        one.stream(PROMPT, limit=40).read()
        other.feed(one.tokens)
        self.assertEqual(one._native.logits_bytes(), other._native.logits_bytes())
        self.assertEqual(len(one._native.logits()), self.model.vocabulary)

    def test_looking_at_logits_changes_nothing_that_is_drawn(self):
        sessions = self.session(), self.session()
        for session in sessions:
            session.sampling(temperature=1.0, mirostat_tau=3.0, seed=3)
            session.feed(PROMPT)
        for _ in range(8):
            for session in sessions:
                session.stream(limit=3).read()
            sessions[0]._native.logits_bytes()
            sessions[0]._native.logits_bytes()
        self.assertEqual(sessions[0].tokens, sessions[1].tokens)

    def test_saved_state_goes_on_as_if_nothing_had_been(self):
        one, other = self.session(), self.session()
        one.stream(PROMPT, limit=8).read()
        with tempfile.TemporaryDirectory() as folder:
            one.save(Path(folder) / "state")
            other.load(Path(folder) / "state")
        self.assertEqual(one.tokens, other.tokens)
        self.assertEqual(one.stream(limit=16).read(), other.stream(limit=16).read())

    def test_fork_goes_its_own_way(self):
        one = self.session()
        one.stream(PROMPT, limit=8).read()
        other = one.fork()
        self.assertEqual(one.tokens, other.tokens)
        other.feed(" Tom")
        self.assertNotEqual(one.tokens, other.tokens)
        self.assertTrue(one.stream(limit=8).read() and other.stream(limit=8).read())

    def test_rewound_session_draws_the_same_again(self):
        session = self.session()
        session.feed(PROMPT)
        mark = session.mark()
        first = session.stream(limit=12).read()
        session.rewind(mark)
        self.assertEqual(session.position, mark.position())
        self.assertEqual(session.stream(limit=12).read(), first)

    def test_plan_is_known_before(self):
        plan = self.model.plan(context=64, kv=inkstone.Kv.INT8)
        self.assertEqual(plan.context, 64)
        self.assertEqual(plan.reserved, sum(purpose.bytes for purpose in plan.purposes[1:]))
        self.assertLess(plan.reserved, self.model.plan(context=128).reserved)

    def test_text_and_tokens(self):
        tokens = self.model.tokenize(PROMPT)
        self.assertEqual(self.model.detokenize(tokens), PROMPT)
        self.assertTrue(all(token < self.model.vocabulary for token in tokens))
        self.model.verify()


if __name__ == "__main__":
    unittest.main()
