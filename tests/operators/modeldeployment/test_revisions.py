"""What is kept of revisions, and which of them a spec asks for."""

from __future__ import annotations

from millrace_operators.modeldeployment.revisions import RevisionRecord, asked_for, differences, superfluous

A, B = {"model": {"uri": "a"}}, {"model": {"uri": "b"}}


def kept(name: str, number: int, content: dict[str, dict[str, str]], command: str = "") -> RevisionRecord:
    return RevisionRecord(name, number, "cpu", content, {}, command)


ONE, TWO, THREE = kept("m-1", 1, A), kept("m-2", 2, B), kept("m-3", 3, A, "9")


def test_the_newest_record_of_the_same_content_is_asked_for() -> None:
    assert asked_for([ONE, TWO], A, A) is ONE
    assert asked_for([ONE, TWO, THREE], A, A) is THREE
    assert asked_for([TWO], A, A) is None


def test_a_command_asks_for_a_record_of_its_own_that_is_made_once() -> None:
    assert asked_for([ONE, TWO], A, A, "9") is None
    assert asked_for([ONE, TWO, THREE], A, A, "9") is THREE, "also where the operator ended before it said so"
    assert asked_for([ONE, TWO, THREE], A, A, "10") is None


def test_those_in_use_and_the_newest_five_of_the_others_stay() -> None:
    many = [kept(f"m-{number}", number, A) for number in range(1, 10)]
    assert superfluous(many, ["m-1", "m-9"]) == ("m-2", "m-3")
    assert superfluous(many[:5], []) == ()


def test_differences_name_containers_and_fields() -> None:
    before = {"spec": {"containers": [{"name": "serve", "image": "a", "args": ["x"]}, {"name": "gone"}]}}
    after = {"spec": {"containers": [{"name": "serve", "image": "b", "args": ["x", "y"]}], "grace": 1}}
    assert list(differences(before, after)) == [
        "spec.containers[serve].args",
        "spec.containers[serve].image",
        "spec.containers[gone]",
        "spec.grace",
    ]
    assert list(differences(before, before)) == []
