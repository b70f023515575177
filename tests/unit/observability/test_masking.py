"""The masker: what it hides, what it leaves alone."""

from __future__ import annotations

import base64
import traceback
from typing import Any

import pytest

from podium.observability.masking import MASK, Masker, mask_text

KEY = "Zq7" + "x9K2" * 9
JWT = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.dozjgNryP4J3jVmNHl0w5N_XgL0n3I9PlFUP0THsR8U"
BASIC = base64.b64encode(b"user:correct horse").decode()
PEM = "-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\n\nMIIEpAIBAAKCAQEA\nabc\n-----END RSA PRIVATE KEY-----"
HEX = "0123456789abcdef" * 2

SECRETS = [
    (f"ghp_{KEY}", KEY),
    (f"gho_{KEY}", KEY),
    (f"github_pat_11ABC_{KEY}", KEY),
    (f"hf_{KEY}", KEY),
    (f"sk_live_{KEY}", KEY),
    (f"sk-{KEY}", KEY),
    (f"sk-ant-api03-{KEY}", KEY),
    (f"pdm_Ab3dEf9h_{KEY}", KEY),
    (f"KGAT_{HEX}", HEX),
    (f'{{"username": "me", "key": "{HEX}"}}', HEX),
    (f"KAGGLE_KEY={HEX}", HEX),
    ("AKIAIOSFODNN7EXAMPLE", "IOSFODNN7EXAMPLE"),
    (f"aws_secret_access_key = {KEY}", KEY),
    (f"Authorization: Bearer {KEY}", KEY),
    (f"('authorization', 'Bearer {KEY}')", KEY),
    (f"authorization=token {KEY}", KEY),
    (f"bearer {KEY}", KEY),
    (f"Authorization: Basic {BASIC}", BASIC),
    (f"basic {BASIC}", BASIC),
    (f"authorization: ApiKey {KEY}", KEY),
    (f"cookie: a; bearer {KEY}", KEY),
    (f"password=bearer {KEY}", KEY),
    (f"basic password={KEY}", KEY),
    (f"x-api-key: {KEY}", KEY),
    (f"(('x-api-key', '{KEY}'), ('user-agent', 'x'))", KEY),
    (f"Metadatum(key='x-api-key', value='{KEY}')", KEY),
    (f"cookie: session={KEY}", KEY),
    ("postgres://podium:hunter2@db/podium", "hunter2"),
    ("https://someone:p@ss:word@example.org/x", "ss:word"),
    (f"https://{KEY}@github.com/x", KEY),
    ("password=hunter2&x=1", "hunter2"),
    ("DB_PASSWORD='hunter2'", "hunter2"),
    ("{'password': 'hunter2'}", "hunter2"),
    ('{"api_key": "hunter2"}', "hunter2"),
    ('"{\\"token\\": \\"hunter2\\"}"', "hunter2"),
    ("token=abc123", "abc123"),
    ("api_key=abc123", "abc123"),
    ("api-key: abc12345", "abc12345"),
    ("client_secret=abc123", "abc123"),
    ("--token abc123 --verbose", "abc123"),
    (JWT, "dozjgNryP4J3jVmNHl0w5N"),
    (PEM, "MIIEpAIBAAKCAQEA"),
    (PEM[:60], "MIIEpAIBA"),
    (PEM.replace("\n", "\\n"), "MIIEpAIBAAKCAQEA"),
    (f"xoxb-{KEY}", KEY),
]


@pytest.mark.parametrize(("text", "secret"), SECRETS)
@pytest.mark.parametrize("frame", ["{}", "failed: {}!", '"{}"', "a\n{}\nb", "url={},"])
def test_a_secret_does_not_survive(frame: str, text: str, secret: str) -> None:
    masked = mask_text(frame.replace("{}", text, 1))
    assert secret not in masked
    assert MASK in masked


@pytest.mark.parametrize(
    "text",
    [
        "",
        "What is 19 * 21 and what time is it in Berlin?",
        "correlation_id=exec_01JD0ABCDEF request_id=req-123",
        "max_tokens=512 prompt_tokens: 1200000",
        "first token: 120 ms",
        "basic authentication is off, bearer tokens are on",
        "see https://example.org/a?b=c and unix:/run/podium.sock",
        "task_scheduler risk-averse-and-long-word desk_lamp_is_on_again",
        "traceparent 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        "podium.v1.OrchestratorService/Execute",
        "author: someone; keyboard = qwerty",
        "git@example.org:me/repo.git",
    ],
)
def test_what_is_no_secret_stays(text: str) -> None:
    assert mask_text(text) == text


def test_the_id_of_an_api_key_stays_readable() -> None:
    assert mask_text(f"key pdm_Ab3dEf9h_{KEY} expired") == "key pdm_Ab3dEf9h_*** expired"


@pytest.mark.parametrize(("text", "secret"), SECRETS)
def test_masking_twice_changes_nothing_more(text: str, secret: str) -> None:
    assert mask_text(mask_text(text)) == mask_text(text)
    assert secret not in mask_text(text)


class TestNested:
    def test_values_under_telling_names_go_whole(self) -> None:
        value = {"password": "x y z", "Authorization": ["Bearer", "abc"], "deep": [{"accessToken": {"a": 1}}], "n": 1}
        expected = {"password": MASK, "Authorization": MASK, "deep": [{"accessToken": MASK}], "n": 1}
        assert Masker().mask_value(value) == expected

    def test_numbers_of_tokens_stay(self) -> None:
        value = {"max_tokens": 5, "token": 42, "password": None, "secret": "", "api_key": True}
        assert Masker().mask_value(value) == value
        assert Masker().mask_value({"password": 1234}) == {"password": MASK}

    @pytest.mark.parametrize(
        "value",
        [f"ghp_{KEY}".encode(), [f"ghp_{KEY}"], {f"ghp_{KEY}"}, ValueError(f"ghp_{KEY}"), {f"ghp_{KEY}": 1}],
    )
    def test_every_kind_of_value_is_looked_into(self, value: Any) -> None:
        assert KEY not in repr(Masker().mask_value(value))

    def test_depth_is_bounded(self) -> None:
        nested: Any = f"ghp_{KEY}"
        for _ in range(200):
            nested = [nested]
        assert KEY not in repr(Masker().mask_value(nested))

    def test_other_values_keep_their_kind(self) -> None:
        assert Masker().mask_value({"a": 1, "b": 1.5, "c": None, "d": False}) == {
            "a": 1,
            "b": 1.5,
            "c": None,
            "d": False,
        }


class TestProcessor:
    def event(self, **fields: Any) -> tuple[dict[str, Any], int]:
        masker = Masker()
        return dict(masker(None, "info", {"message": "hello", **fields})), masker.hits

    def test_a_clean_event_passes_and_counts_nothing(self) -> None:
        assert self.event(a=1, b={"c": ["d"]}) == ({"message": "hello", "a": 1, "b": {"c": ["d"]}}, 0)

    def test_hits_are_counted(self) -> None:
        event, hits = self.event(password="x", url="a://b:c@d", headers={"cookie": "x"})
        assert event == {"message": "hello", "password": MASK, "url": "a://b:***@d", "headers": {"cookie": MASK}}
        assert hits == 3

    def test_objects_are_walked_even_when_no_text_hints_at_a_secret(self) -> None:
        event, hits = self.event(error=ValueError(f"ghp_{KEY}"))
        assert event["error"] == "ghp_***"
        assert hits == 1

    def test_tracebacks_are_covered(self) -> None:
        try:
            raise RuntimeError(f"refused Bearer {KEY}")
        except RuntimeError:
            event, _ = self.event(exception=traceback.format_exc())
        assert KEY not in event["exception"]
        assert "RuntimeError" in event["exception"]

    def test_endless_texts_are_cut(self) -> None:
        event, hits = self.event(body="x" * 1_000_000)
        assert len(event["body"]) < 40_000
        assert event["body"].endswith("... (967232 more characters)")
        assert hits == 0
