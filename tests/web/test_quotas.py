"""The pages about quotas: what a person does there holds, and what is wrong is said beside its field."""

import re
from urllib.parse import quote

import httpx
import pytest

from quotaflow.edges.web.queries import ON_A_PAGE
from tests.http.house import House

pytestmark = pytest.mark.asyncio(loop_scope="module")

EVIL = "\"><img src=x onerror=alert(1)><script>alert('x')</script>"


def at(quota_id: str) -> str:
    return f"/quotas/{quote(quota_id, safe='')}"


async def do(client: httpx.AsyncClient, path: str, do: str, **fields: str) -> httpx.Response:
    return await client.post(path, data={"do": do, **fields})


async def test_a_quota_is_created_with_a_rate_per_minute(house: House, signed_in: httpx.AsyncClient) -> None:
    answer = await do(signed_in, "/quotas", "bucket", id="page/1", capacity="1,000", rate="90", per="m")
    assert (answer.status_code, answer.headers["location"]) == (303, at("page/1"))
    made = await house.qf.quotas.get("page/1")
    assert (made.quota.capacity, made.quota.refill_rate, made.quota.max_concurrent) == (1000, 1.5, None)
    shown = await signed_in.get(at("page/1"))
    assert "The quota page/1 is in force." in shown.text
    assert "1,000</b> / 1,000" in shown.text
    again = await signed_in.get(at("page/1"))
    assert "is in force" not in again.text


async def test_a_prepaid_quota_is_created_and_recharged(house: House, signed_in: httpx.AsyncClient) -> None:
    made = await do(
        signed_in, "/quotas", "allowance", id="budget", total="100", reset_cron="0 0 1 * *", mirrors=""
    )
    assert made.status_code == 303, made.text
    assert (await do(signed_in, at("budget"), "recharge", operation="add", amount="50")).status_code == 303
    level = (await house.qf.quotas.get("budget")).level
    assert level is not None
    assert level.remaining == 150


@pytest.mark.parametrize(
    ("do_", "fields", "field", "english", "chinese"),
    [
        ("bucket", {"id": "bad"}, "capacity", "Capacity is missing", "缺少容量"),
        (
            "bucket",
            {"id": "bad", "capacity": "ten", "rate": "1"},
            "capacity",
            "Capacity must be a number",
            "容量必须是数字",
        ),
        (
            "bucket",
            {"id": "bad", "capacity": "1,5", "rate": "1"},
            "capacity",
            "Capacity must be a number",
            "容量必须是数字",
        ),
        (
            "bucket",
            {"id": "bad", "capacity": "1", "rate": "x"},
            "rate",
            "Refill must be a number",
            "补充必须是数字",
        ),
        ("bucket", {"id": "", "capacity": "1", "rate": "1"}, "id", "Id is missing", "缺少 id"),
        ("allowance", {"id": "bad"}, "total", "Total is missing", "缺少总额度"),
    ],
)
async def test_what_is_wrong_stands_beside_its_field_and_what_was_typed_is_kept(
    signed_in: httpx.AsyncClient, do_: str, fields: dict[str, str], field: str, english: str, chinese: str
) -> None:
    for language, told in (("en", english), ("zh-CN", chinese)):
        answer = await signed_in.post(
            "/quotas",
            data={"do": do_, "capacity": "", "total": "", **fields},
            headers={"accept-language": language},
        )
        assert answer.status_code == 422
        beside = re.search(rf'id="{do_}-{field}-note">([^<]+)<', answer.text)
        assert beside is not None
        assert beside[1] == told
        for name, typed in fields.items():
            assert re.search(rf'name="{name}"[^>]* value="{typed}"', answer.text)


async def test_a_cron_that_cannot_be_read_is_said_beside_its_field(signed_in: httpx.AsyncClient) -> None:
    answer = await do(signed_in, "/quotas", "allowance", id="bad", total="1", reset_cron="61 * * * *")
    assert answer.status_code == 422
    assert re.search(r'id="allowance-reset_cron-note">[^<]*61', answer.text)


async def test_a_taken_id_is_said_above_the_form(house: House, signed_in: httpx.AsyncClient) -> None:
    await house.quota("taken")
    answer = await do(signed_in, "/quotas", "bucket", id="taken", capacity="1", rate="1")
    assert answer.status_code == 422
    assert re.search(r'class="wrong" role="alert">[^<]*taken', answer.text)


async def test_a_quota_is_edited_switched_refilled_and_deleted(
    house: House, signed_in: httpx.AsyncClient
) -> None:
    await house.quota("whole", 10, 0, max_concurrent=3)
    edited = await do(signed_in, at("whole"), "edit", capacity="20", rate="2", per="s", max_concurrent="")
    assert edited.status_code == 303
    quota = (await house.qf.quotas.get("whole")).quota
    assert (quota.capacity, quota.refill_rate, quota.max_concurrent) == (20, 2, None)
    await do(signed_in, at("whole"), "disable")
    assert not (await house.qf.quotas.get("whole")).quota.enabled
    await do(signed_in, at("whole"), "enable")
    assert (await house.qf.quotas.get("whole")).quota.enabled
    await house.qf.acquire("whole", 15)
    await do(signed_in, at("whole"), "refill")
    level = (await house.qf.quotas.get("whole")).level
    assert level is not None
    assert level.remaining == 20
    assert (await do(signed_in, at("whole"), "remove")).headers["location"] == "/quotas"
    assert (await signed_in.get(at("whole"))).status_code == 404


async def test_a_key_gets_a_bucket_of_its_own_and_loses_it(
    house: House, signed_in: httpx.AsyncClient
) -> None:
    await house.quota("keyed")
    wrong = await do(signed_in, at("keyed"), "override", key="", capacity="5", rate="60", per="m")
    assert wrong.status_code == 422
    made = await do(signed_in, at("keyed"), "override", key="c/42", capacity="5", rate="60", per="m")
    assert made.status_code == 303
    (override,) = await house.qf.quotas.overrides("keyed")
    assert (override.key, override.capacity, override.refill_rate) == ("c/42", 5, 1)
    await do(signed_in, at("keyed"), "drop_override", key="c/42")
    assert await house.qf.quotas.overrides("keyed") == []


async def test_a_change_is_shown_before_and_after_and_taken_back(
    house: House, signed_in: httpx.AsyncClient
) -> None:
    await house.quota("moody", 10, 1)
    await do(signed_in, at("moody"), "edit", capacity="30", rate="1", per="s")
    page = (await signed_in.get(at("moody"))).text
    assert "<del>10</del>" in page
    assert "<ins>30</ins>" in page
    newest = re.search(r'name="entry" value="([^"]+)"', page)
    assert newest is not None
    assert (await do(signed_in, at("moody"), "undo", entry=newest[1])).status_code == 303
    assert (await house.qf.quotas.get("moody")).quota.capacity == 10
    twice = await do(signed_in, at("moody"), "undo", entry=newest[1])
    assert twice.status_code == 422
    assert "undone already" in twice.text


async def test_a_hostile_name_is_text(house: House, signed_in: httpx.AsyncClient) -> None:
    await house.quota(EVIL)
    for path in ("/quotas", at(EVIL), f"/quotas?q={quote(EVIL)}"):
        page = (await signed_in.get(path)).text
        assert EVIL not in page
        assert "<img src=x" not in page
        assert "&lt;script&gt;" in page


async def test_a_search_finds_by_id_and_name_and_pages_keep_it(
    house: House, signed_in: httpx.AsyncClient
) -> None:
    for number in range(ON_A_PAGE + 2):
        await house.quota(f"many_{number:02d}", name=f"Lot {number}%")
    first = (await signed_in.get("/quotas?q=MANY_")).text
    assert f'href="/quotas/many_{ON_A_PAGE - 1}"' in first
    assert f'href="/quotas/many_{ON_A_PAGE}"' not in first
    following = re.search(r'href="(/quotas\?q=MANY_&amp;cursor=[^"]+)"', first)
    assert following is not None
    second = (await signed_in.get(following[1].replace("&amp;", "&"))).text
    assert f'href="/quotas/many_{ON_A_PAGE + 1}"' in second
    assert "Lot 7%" in (await signed_in.get("/quotas?q=lot 7%25")).text
    assert "No quota has" in (await signed_in.get("/quotas?q=nothing-like-this")).text


async def test_a_viewer_sees_no_forms_and_changes_nothing(house: House, viewing: httpx.AsyncClient) -> None:
    await house.quota("watched")
    before = await house.written()
    page = (await viewing.get(at("watched"))).text
    assert 'name="do"' not in page
    for act in ("edit", "disable", "refill", "remove", "override"):
        assert (await do(viewing, at("watched"), act, key="k", capacity="1", rate="1")).status_code == 403
    assert (await do(viewing, "/quotas", "bucket", id="x", capacity="1", rate="1")).status_code == 403
    assert await house.written() == before


async def test_an_unknown_act_is_refused_on_a_page(house: House, signed_in: httpx.AsyncClient) -> None:
    await house.quota("calm")
    for path in (at("calm"), "/quotas"):
        answer = await do(signed_in, path, "explode")
        assert answer.status_code == 422
        assert "not known here" in answer.text


async def test_every_field_that_is_wrong_says_so_at_once(signed_in: httpx.AsyncClient) -> None:
    answer = await do(signed_in, "/quotas", "bucket", id="", capacity="abc", rate="1", max_concurrent="1.5")
    for field, told in (("id", "is missing"), ("capacity", "must be a number"), ("max_concurrent", "whole")):
        beside = re.search(rf'id="bucket-{field}-note">([^<]+)<', answer.text)
        assert beside is not None
        assert told in beside[1]


@pytest.mark.parametrize(
    ("rate", "per", "shown"), [("20", "m", "20"), ("100", "h", "100"), ("1", "d", "1"), ("0.5", "s", "30")]
)
async def test_a_rate_comes_back_as_it_was_given(
    house: House, signed_in: httpx.AsyncClient, rate: str, per: str, shown: str
) -> None:
    await do(signed_in, "/quotas", "bucket", id=f"paced_{rate}{per}", capacity="1", rate=rate, per=per)
    page = (await signed_in.get(at(f"paced_{rate}{per}"))).text
    assert re.search(rf'id="edit-rate"[^>]* value="{re.escape(shown)}"', page)
    period = {"s": "second", "m": "minute", "h": "hour", "d": "day"}["m" if rate == "0.5" else per]
    assert f'<span class="rate">{shown} / {period}</span>' in page


async def test_a_rate_that_cannot_be_kept_exactly_says_as_what_it_is_kept(
    signed_in: httpx.AsyncClient,
) -> None:
    made = await do(signed_in, "/quotas", "bucket", id="slow", capacity="1", rate="1", per="d")
    page = (await signed_in.get(made.headers["location"])).text
    assert "0.000012 units a second, 1.0368 a day" in page


async def test_a_form_that_is_older_than_the_quota_changes_nothing(
    house: House, signed_in: httpx.AsyncClient
) -> None:
    made = await house.quota("shared", 3, 1)
    seen = str(made["version"])
    first = await do(signed_in, at("shared"), "edit", capacity="7", rate="1", per="s", version=seen)
    assert first.status_code == 303
    late = await do(signed_in, at("shared"), "edit", capacity="3", rate="1", per="s", version=seen)
    assert late.status_code == 422
    assert "changed since this form was opened" in late.text
    assert (await house.qf.quotas.get("shared")).quota.capacity == 7


async def test_a_recharge_sent_twice_happens_once(house: House, signed_in: httpx.AsyncClient) -> None:
    await do(signed_in, "/quotas", "allowance", id="once", total="100")
    page = (await signed_in.get(at("once"))).text
    found = re.search(r'name="request_id" value="([^"]+)"', page)
    assert found is not None
    for _ in range(2):
        fields = {"operation": "add", "amount": "50", "request_id": found[1]}
        assert (await do(signed_in, at("once"), "recharge", **fields)).status_code == 303
    level = (await house.qf.quotas.get("once")).level
    assert level is not None
    assert level.remaining == 150


async def test_undoing_the_creation_leads_to_the_list_and_is_offered_once(
    house: House, signed_in: httpx.AsyncClient
) -> None:
    await house.quota("fleeting")
    page = (await signed_in.get(at("fleeting"))).text
    entry = re.search(r'name="entry" value="([^"]+)"', page)
    assert entry is not None
    undone = await do(signed_in, at("fleeting"), "undo", entry=entry[1])
    assert undone.headers["location"] == "/quotas"
    assert f'value="{entry[1]}"' not in (await signed_in.get("/quotas")).text
