"""Where the links in mail about an account lead: confirm an address, change it, set a new password."""

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from appointments.api.rest import plain
from appointments.api.rest.auth import ask_for_reset
from appointments.api.rest.client import address_of
from appointments.auth import MailedLinks
from appointments.auth.account_mail import PATHS
from appointments.auth.ratelimit import Limiter, network
from appointments.shared.errors import Invalid

DEAD = "This link does not work: it was used, replaced by a newer one, or is too old."


class AccountLinks:
    """The pages."""

    def __init__(self, mailed_links: MailedLinks, limiter: Limiter, *, trusted_proxy_hops: int) -> None:
        self._links = mailed_links
        self._limiter = limiter
        self._hops = trusted_proxy_hops

    def routes(self) -> list[Route]:
        """The routes."""
        pages = (
            (f"/{PATHS['verify']}/{{token}}", self._verify),
            (f"/{PATHS['change']}/{{token}}", self._change),
            (f"/{PATHS['reset']}", self._ask),
            (f"/{PATHS['reset']}/{{token}}", self._reset),
        )
        return [Route(path, plain.with_faults(page), methods=["GET", "POST"]) for path, page in pages]

    async def _verify(self, request: Request) -> Response:
        token = request.path_params["token"]
        if request.method == "POST":
            await self._admit(request)
            email = await self._links.verify(token)
            return plain.said("Confirmed", f"{email} is confirmed.")
        if (email_ := await self._links.look("verify", token)) is None:
            return plain.said("Confirm your e-mail address", DEAD, status=404)
        question = f"Is {email_} your address?"
        return plain.render("confirm.html", title="Confirm your e-mail address", question=question, label="Confirm")

    async def _change(self, request: Request) -> Response:
        token = request.path_params["token"]
        if request.method == "POST":
            await self._admit(request)
            email = await self._links.change(token)
            return plain.said("Changed", f"Your account uses {email} now. Sign in with it from now on.")
        if (email_ := await self._links.look("change", token)) is None:
            return plain.said("Confirm your new e-mail address", DEAD, status=404)
        question = f"Use {email_} for your account from now on?"
        return plain.render("confirm.html", title="Confirm your new e-mail address", question=question, label="Use it")

    async def _ask(self, request: Request) -> Response:
        title = "Set a new password"
        if request.method != "POST":
            return plain.render("ask_reset.html", title=title, problem="")
        await self._admit(request)
        email = (await plain.form(request)).get("email", "")
        try:
            await ask_for_reset(self._links, self._limiter, email)
        except Invalid:
            return plain.render("ask_reset.html", 400, title=title, problem="This is not an e-mail address.")
        told = "If the address has an account, a message with a link is on its way to it."
        return plain.said(title, told, home=False)

    async def _reset(self, request: Request) -> Response:
        token, title = request.path_params["token"], "Set a new password"
        problem = ""
        if request.method == "POST":
            await self._admit(request)
            try:
                await self._links.reset(token, (await plain.form(request)).get("password", ""))
                return plain.said("Your password is set", "Sign in with it.")
            except Invalid as bad:
                if bad.reason != Invalid.reason:
                    return plain.said(title, DEAD, status=400)
                problem = bad.violations[0].description
        if (email := await self._links.look("reset", token)) is None:
            return plain.said(title, DEAD, status=404)
        return plain.render("reset.html", 400 if problem else 200, title=title, email=email, problem=problem)

    async def _admit(self, request: Request) -> None:
        await self._limiter.admit("link", network(address_of(request, self._hops)))
