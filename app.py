"""The composition root: the one place where things are built and put together.

python app.py [serve]          the server; without exchange keys it trades on paper, on simulated exchanges
python app.py simulator ...    one simulated exchange as a process of its own
python app.py demo | run       a whole small world: shown once and taken down, or left up to play with
python app.py halt --all       halt in the database, while no server runs: the next start begins halted
python app.py keygen USER      a key pair: one line for the server's environment, one for the bot's
"""

from __future__ import annotations

import argparse
import asyncio
import functools
import getpass
import logging
import secrets
import signal
import ssl
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from random import Random
from typing import Any

import uvloop

import demo
from ems.core.child import Patience
from ems.core.codec import CLOSED_EXCHANGES, EXCHANGE_ALIASES, VERBS, read_given
from ems.core.messages import BookUpdate, FromFeed, HaltTrading
from ems.core.notifications import Channel, of_notice
from ems.core.records import Notice
from ems.desk import Desk
from ems.engine import Engine
from ems.engine.account import Account
from ems.feeds.coinapi import PROVIDER, CoinApi
from ems.histories import Histories
from ems.loop import AsyncScheduler, LoopThread
from ems.runner import FROZEN, Runner
from ems.store import StoreUnavailable
from ems.venues.ccxt_gateway import CcxtGateway, VenueKeys
from ems.venues.dialects import DIALECTS
from ems.venues.frozen import FrozenGateway
from ems.venues.gateway import Gateway
from ems.venues.limiter import Limiter
from server import asgi
from server.api.app import create_app
from server.auth import Authenticator
from server.halting import HaltFile, written_halt
from server.keystore import DEFAULT_ACCOUNT, ExchangeKeys, RedactingFilter, Redactor
from server.notify.channels import EmailSender, Sender
from server.notify.desk import NotificationDesk
from server.notify.mailer import Mailer
from server.notify.notifier import Notifier
from server.notify.services import ServiceSender
from server.notify.streams import StreamWatch
from server.notify.webhook import WebhookSender
from server.plots import cost_plot
from server.release import release
from server.settings import Settings, SettingsError, load_settings
from server.store import mapping, migrate
from server.store.connect import BadDatabaseUrl
from server.store.owner import AlreadyOwned
from server.store.sql import SqlStore
from simulator import synthetic
from simulator import tls as certificates
from simulator.dialects import LISTED
from simulator.exchange import Exchange
from simulator.faults import PROFILES, BadRule, Faults, weather
from simulator.positions import Positions
from simulator.records import Before
from simulator.replay import Replay, tracks
from simulator.wire import SimulatorServer

log = logging.getLogger("oms")

PAPER_DEPOSITS = {"USDT": Decimal(10000), "ETH": Decimal(2), "BTC": Decimal("0.2")}
DAY_BEFORE = Decimal(1_000_000)  # base: what a recorded market is said to trade in 24 hours
HOUSEKEEPING_S = 600.0
FREEZE_FOR = timedelta(minutes=10)  # an account that stopped the server
STOPS_TO_FREEZE = 2  # this often within that time is left out at the next start (R19)
STOPS_TO_END = 3  # of one cause within that time: starting afresh does not help
LAST_ANSWERS_S = 1.0  # a broken engine answers nobody: what is under way at the port gets this long
BROKEN = 70  # exit status: a mistake of our own (EX_SOFTWARE of sysexits.h)


# --- Simulated exchanges ---------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class PaperVenue:
    """Where a paper account of an exchange is, and the keys it is known by there."""

    exchange: str
    url: str
    ws_url: str
    keys: VenueKeys = field(repr=False)
    comparable: bool = True  # False: it plays another day's prices, and no provider knows them


@dataclass(frozen=True, kw_only=True)
class SimulatedExchange:
    """A running simulator with one funded account, replaying recorded books."""

    venue: PaperVenue
    server: SimulatorServer
    replay: str  # what is replayed, in words
    playing: asyncio.Task[None]

    def stop(self) -> None:
        self.server.call(self.playing.cancel)
        self.server.stop()


def start_simulator(
    exchange_name: str,
    *,
    port: int = 0,
    keys: VenueKeys | None = None,
    deposits: Mapping[str, Decimal] | None = None,
    faults: Faults | None = None,
    speed: float = 1.0,
    limits: bool = True,
    made_up: bool = False,
    swaps: bool = False,
    tls: ssl.SSLContext | None = None,
) -> SimulatedExchange:
    """Start a simulated exchange in threads of this process.

    `limits` False lifts its rate limits. `made_up` adds many invented markets to the recorded ones, for
    portfolios. `swaps` lists perpetual contracts beside spot, where the exchange has them.
    """
    listed = LISTED[exchange_name]
    # Ids go on where any earlier run stopped: an exchange never uses an order or trade id twice.
    exchange = Exchange(exchange_name, list(listed.markets), first_id=int(time.time() * 1000))
    if swaps:
        Positions(exchange, listed.swaps)
    played = tracks(exchange)
    for symbol in exchange.markets.keys() - {track.symbol for track in played}:
        exchange.remove_market(symbol, time.time())  # without a recording it would have no book
    if made_up:
        for market in synthetic.markets(exchange_name, listed=exchange.markets):
            exchange.add_market(market)
    for symbol in exchange.markets:
        exchange.before[symbol] = Before(volume=DAY_BEFORE)
    if keys is None:
        public, private, passphrase = listed.keys(secrets.token_bytes)
        keys = VenueKeys(public=public, private=private, passphrase=passphrase)
    account = exchange.open_account(keys.public, keys.private, name="paper", passphrase=keys.passphrase)
    for currency, amount in (PAPER_DEPOSITS if deposits is None else deposits).items():
        exchange.deposit(account, currency, amount, time.time())
    options = {} if limits else listed.unlimited
    dialect = listed.dialect(exchange, **options)
    server = SimulatorServer(exchange, dialect, port=port, faults=faults, tls=tls)
    server.start()
    replay = Replay(exchange, played, start=server.now(), speed=speed)
    server.call(lambda: replay.advance(server.now()))

    invented = synthetic.drawable(exchange, but={track.symbol for track in played}) if made_up else []
    drawn = synthetic.Synthetic(exchange, invented, start=server.now())
    server.call(lambda: drawn.advance(server.now()))

    async def both() -> None:
        await asyncio.gather(replay.run(clock=server.now), drawn.run(clock=server.now))

    async def play() -> asyncio.Task[None]:
        return asyncio.create_task(both())

    venue = PaperVenue(exchange=exchange_name, url=server.url, ws_url=server.ws_url, keys=keys)
    told = replay.describe() + (f"\n{drawn.describe()}" if made_up else "")
    return SimulatedExchange(venue=venue, server=server, replay=told, playing=server.await_(play()))


# --- The server --------------------------------------------------------------------------------------------


class Door(asgi.Port):
    """The port of one server. Where `lasting`, it stays open for the next one, should this server break."""

    def __init__(
        self,
        app: asgi.Guard,
        listener: Any,  # an open socket, of asgi.listen
        *,
        lasting: bool,
        lag: asgi.LoopLag,
        on_stop: Callable[[], None],
    ):
        super().__init__(app, listener.dup(), lag=lag, on_stop=on_stop)
        self._shared = listener  # while it is open, callers may wait at it
        self.lasting = lasting
        self.told = False  # somebody wants it to stop

    def stop(self) -> None:
        self.told = True
        self._shared.close()
        super().stop()

    def let_go(self, *, stays_open: bool) -> None:
        """Stop because the engine has: soon, and without waiting for what it will never answer."""
        if not stays_open:
            self._shared.close()
        super().stop()
        threading.Timer(LAST_ANSWERS_S, super().stop).start()


class Server:
    """Everything between the port and the exchanges, built from settings."""

    def __init__(
        self,
        settings: Settings,
        venues: list[PaperVenue],
        *,
        unlimited: bool = False,
        listen: Callable[[], Any] | None = None,
    ):
        """`listen` gives a port that outlives this server; without it the server opens its own."""
        self.settings = settings
        self.store = SqlStore(settings.db_url)
        migrate.upgrade(settings.db_url)
        self.store.acquire_owner()
        boot_time = time.time()
        self.loop = LoopThread(uvloop.new_event_loop)
        scheduler = AsyncScheduler(self.loop.loop)
        self.gateways: dict[tuple[str, str], Gateway] = {}
        self.gateways.update(_gateways(settings, venues, clock=scheduler.now, unlimited=unlimited))
        self.mark = _mark(self.store, self.gateways)
        self._frozen = self._find_frozen()
        for frozen in self._frozen:
            self.gateways[frozen] = FrozenGateway(self.gateways[frozen], FROZEN)
        accounts = [
            Account(
                gateway.exchange,
                gateway.account,
                mode=gateway.mode,
                identity=gateway.identity,
                patience=Patience(recv_window_s=gateway.recv_window_s),
                id_style=gateway.client_id_style,
                internal_matching=(gateway.exchange, gateway.account) in settings.internal_matching,
                swaps=(gateway.exchange, gateway.account) in settings.swaps,
            )
            for gateway in self.gateways.values()
        ]
        self.runner = Runner(
            Engine(
                accounts,
                mark=self.mark,
                currency=settings.reporting_currency,
                release=release(settings),
            ),
            self.store,
            self.gateways,
            scheduler,
            changed=lambda state: self.desk.changed(state),
            watching=self._watching,
            answered=lambda token, answer: self.desk.answered(token, answer),
            broken=self._broken,
        )
        self._incomparable = {venue.exchange for venue in venues if not venue.comparable}
        self.feed = self._coin_api(settings)
        feeds = [] if self.feed is None else [self.feed]
        self.desk = Desk(
            self.loop,
            self.runner,
            self.store,
            self.gateways,
            new_id,
            Histories(self.store, self.gateways, self.loop.wait, utc_now),
            draw=cost_plot,
            feeds=lambda: [feed.health() for feed in feeds],
            still_there=lambda: self.halt_file.there(),
        )
        self.halt_file = HaltFile(settings.halt_file, self.desk, new_id)
        collected = None if settings.mail is None else settings.mail.digest_minutes
        self.mailer = Mailer(self.store, settings.mail, clock=utc_now, digest_minutes=collected)
        senders = _senders(settings)
        self.notifier = Notifier(
            self.store.notifications,
            senders,
            utc_now,
            lambda: _admins(settings),
            watches=[StreamWatch(self._streams)],
        )
        authenticator = Authenticator(settings.keys, settings.hosts, time.time, boot_time)
        lag = asgi.LoopLag()
        flask = create_app(
            self.desk,
            authenticator,
            settings,
            clock=utc_now,
            ids=request_id,
            notifications=NotificationDesk(
                self.store,
                self.notifier,
                senders,
                utc_now,
                new_id,
                self.desk.mode,
                letters=lambda: self.mailer.trouble,
            ),
            loop_lag_ms=lag.ms,
        )
        guard = asgi.build(flask, mode=self.desk.mode, ids=request_id)
        listener = asgi.listen(settings.host, settings.port) if listen is None else listen()
        self.port = Door(guard, listener, lasting=listen is not None, lag=lag, on_stop=self._stopping)
        self._housekeeping = threading.Event()
        self.exit_status = 0
        self._curable = False  # the engine broke, and a fresh one may do better

    def start(self) -> None:
        """Start the engine and the mailer; the port answers once `run` is called."""
        self.loop.start()
        self.loop.call(lambda: self.runner.start(self._frozen), timeout_s=60)
        self.halt_file.start()
        self._tell_start()
        self.mailer.start()
        self.notifier.start()
        if self.feed is not None:
            self.feed.start()
        threading.Thread(target=self._housekeep, name="housekeeping", daemon=True).start()

    def run(self) -> None:
        """Serve until SIGTERM or SIGINT, then stop cleanly."""
        try:
            self.port.run()
        finally:
            self.stop()

    def _tell_start(self) -> None:
        """Tell who wants to know; the operators by letter where they have asked for it."""
        at = utc_now()
        letter = Notice(
            notice_id=f"started-{at.timestamp():.6f}",
            query_id=None,
            severity="info",
            subject="the server started",
            failed="Nothing: this says that the server started, and that letters arrive.",
            why=f"A start in mode {self.desk.mode()}, with {len(self.gateways)} exchange accounts.",
            done="Every account is being reconciled; nothing trades before that.",
            todo="",
            created_at=at,
            event="server_started",
        )
        if self.settings.start_mail:
            self.store.commit([letter])
        else:
            self.notifier.tell([of_notice(letter, None)])

    def _streams(self) -> dict[tuple[str, str], bool]:
        """Say of every account that has been in contact whether its live stream is up."""
        accounts = self.runner.engine.work.accounts.values()
        return {account.key: account.streaming for account in accounts if account.since is not None}

    def _stopping(self) -> None:
        self.desk.stop()

    def _coin_api(self, settings: Settings) -> CoinApi | None:
        """Build the feed of second opinions; its thread hands each book over to the engine's."""
        if settings.coin_api is None:
            return None

        def deliver(exchange: str, book: BookUpdate) -> None:
            event = FromFeed(provider=PROVIDER, exchange=exchange, book=book)
            with suppress(RuntimeError):  # the loop is closed: this server is going down
                self.loop.loop.call_soon_threadsafe(self.runner.feed, event)

        return CoinApi(
            settings.coin_api.key,
            settings.coin_api.endpoints,
            deliver=deliver,
            now=utc_now,
            monotonic=time.monotonic,
            rng=Random(),
        )

    def _watching(self, exchange: str, symbol: str) -> None:
        """Have a second opinion on each book that some account at an exchange watches."""
        if self.feed is None or exchange in self._incomparable:
            return
        accounts = self.runner.engine.work.accounts.values()
        if any(symbol in account.watched for account in accounts if account.exchange == exchange):
            self.feed.watch(exchange, symbol)
        else:
            self.feed.unwatch(exchange, symbol)

    def _find_frozen(self) -> set[tuple[str, str]]:
        """Return the accounts that stopped the server more than once of late: the others run without them."""
        since = utc_now() - FREEZE_FOR
        frozen = set()
        for account in self.gateways:
            if self.store.notices_of(broken_group(account), since) >= STOPS_TO_FREEZE:
                log.critical("%s/%s is frozen: it stopped the server more than once; see MANUAL.md", *account)
                frozen.add(account)
        return frozen

    @property
    def replaceable(self) -> bool:
        """Say whether a fresh server should take over: this one broke, for the first times, and nobody told
        it to stop."""
        return self._curable and not self.port.told

    def _broken(self, error: Exception, account: tuple[str, str] | None) -> None:
        """Tell people and end this server: a fresh one rebuilds everything from the store."""
        log.critical("an internal error stops the engine: %s", error, exc_info=error)
        self.exit_status = BROKEN
        at = utc_now()
        where = "a request or a timer" if account is None else f"a report of {'/'.join(account)}"
        group = broken_group(account)
        stops, curable = STOPS_TO_END, False
        try:
            stops = self.store.notices_of(group, at - FREEZE_FOR) + 1
            curable = self.port.lasting and stops < STOPS_TO_END
        except StoreUnavailable:
            log.critical("and nobody can say how often it has")
        todo = "Nothing now: it starts afresh from the database and reconciles first."
        if not curable:
            todo = "It has ended. Start it again (a supervisor does); it reconciles first."
        elif account is not None and stops >= STOPS_TO_FREEZE:
            todo = f"It starts afresh from the database, without {'/'.join(account)}: look at that account."
        letter = Notice(
            notice_id=f"broken-{at.timestamp():.6f}",
            query_id=None,
            severity="critical",
            subject="the server stopped itself",
            failed=f"The engine broke one of its own promises over {where}.",
            why=f"{type(error).__name__}: {error}",
            done="It stopped before anything of the last step was sent. Open orders stay at the exchanges.",
            todo=f"{todo} Keep the log for the developers.",
            created_at=at,
            group=group,
            event="server_stopped",
        )
        try:
            self.store.commit([letter])
            self._curable = curable
        except StoreUnavailable:  # without it nobody could count the stops
            log.critical("and the letter about it could not be written")
        self.port.let_go(stays_open=self._curable)

    def stop(self) -> None:
        """Let go of everything. Orders that rest at an exchange stay; the next start reconciles them."""
        self.desk.stop()
        self._housekeeping.set()
        self.halt_file.stop()
        self.mailer.stop()
        self.notifier.stop()
        if self.feed is not None:
            self.feed.stop()
        for gateway in self.gateways.values():
            try:
                self.loop.wait(gateway.close(planned=self.exit_status != BROKEN), 5.0)
            except TimeoutError:
                log.warning("%s did not close in time", gateway.exchange)
        self.loop.stop()
        self.store.close()

    def _housekeep(self) -> None:
        while not self._housekeeping.wait(HOUSEKEEPING_S):
            try:
                self.store.purge(utc_now())
            except Exception:
                log.exception("housekeeping failed; it is tried again in ten minutes")


def _gateways(
    settings: Settings, venues: list[PaperVenue], *, clock: Callable[[], datetime], unlimited: bool
) -> dict[tuple[str, str], CcxtGateway]:
    gateways: dict[tuple[str, str], CcxtGateway] = {}
    limiters: dict[str, Limiter] = {}  # live exchange -> what all accounts there share
    paper = {venue.exchange for venue in venues}
    for exchange, account in settings.vault.accounts():
        if exchange in paper:
            continue
        held = settings.vault.get(exchange, account)
        assert held is not None
        if exchange in CLOSED_EXCHANGES:
            raise SettingsError(
                f"{held.source}: {CLOSED_EXCHANGES[exchange]}, so there is nothing to trade at; unset it, or "
                f"add --paper {exchange}=URL, where its simulator is"
            )
        if exchange not in DIALECTS:
            supported = ", ".join(name for name in sorted(DIALECTS) if name not in CLOSED_EXCHANGES)
            raise SettingsError(f"{held.source}: {exchange} is not supported; supported: {supported}")
        keys = venue_keys(held)
        limiter = limiters.setdefault(exchange, Limiter(DIALECTS[exchange].limits.shapes))
        gateways[exchange, account] = CcxtGateway(
            exchange,
            account,
            keys,
            mode="live",
            clock=clock,
            limiter=limiter,
            **_manners(settings, exchange, account),
        )
    for venue in venues:
        gateways[venue.exchange, DEFAULT_ACCOUNT] = CcxtGateway(
            venue.exchange,
            DEFAULT_ACCOUNT,
            venue.keys,
            mode="paper",
            base_url=venue.url,
            ws_url=venue.ws_url,
            clock=clock,
            shapes=() if unlimited else None,
            **_manners(settings, venue.exchange, DEFAULT_ACCOUNT),
        )
    for name, exchanges in (
        ("OMS_ALLOW_WITHDRAW_KEYS", settings.allow_withdraw),
        ("OMS_EXCLUSIVE", settings.exclusive),
    ):
        unknown = sorted(exchanges - DIALECTS.keys())
        if unknown:
            raise SettingsError(f"{name}: {unknown[0]} is not among {', '.join(sorted(DIALECTS))}")
    for name, accounts in (
        ("OMS_INTERNAL_MATCHING", settings.internal_matching),
        ("OMS_SWAPS", settings.swaps),
    ):
        for exchange, account in sorted(accounts - gateways.keys()):
            here = ", ".join("/".join(key) for key in sorted(gateways))
            raise SettingsError(f"{name}: {exchange}/{account} is not among the accounts: {here}")
    for exchange, _ in sorted(settings.swaps):
        if DIALECTS[exchange].derivatives is None:
            those = ", ".join(sorted(one for one, d in DIALECTS.items() if d.derivatives is not None))
            raise SettingsError(f"OMS_SWAPS: {exchange} is reached for spot alone; contracts are at {those}")
    return gateways


def _senders(settings: Settings) -> dict[Channel, Sender]:
    """Build the channels that the settings give."""
    senders: dict[Channel, Sender] = {}
    if settings.mail is not None:
        senders[Channel.EMAIL] = EmailSender(settings.mail, settings.notify_emails, utc_now)
    if settings.webhook_origins:
        senders[Channel.WEBHOOK] = WebhookSender(settings.webhook_origins, settings.webhook_secret, utc_now)
    if settings.notify_services:
        senders[Channel.SERVICE] = ServiceSender(settings.notify_services)
    return senders


def _admins(settings: Settings) -> set[str]:
    """Return who holds an admin's key now."""
    now = utc_now()
    keys = settings.keys.values()
    return {key.user for key in keys if key.role == "admin" and (key.expires is None or now < key.expires)}


def _manners(settings: Settings, exchange: str, account: str) -> dict[str, bool]:
    """Say what the operator has declared about an account."""
    return {
        "may_withdraw": exchange in settings.allow_withdraw,
        "exclusive": exchange in settings.exclusive,
        "swaps": (exchange, account) in settings.swaps,
    }


def _mark(store: SqlStore, gateways: Mapping[tuple[str, str], Gateway]) -> str:
    """Return the mark of this installation's client order ids: made once, kept in the database for ever."""
    first_seen = utc_now()

    def remember(exchange: str, account: str, mode: str, mark: str) -> str:
        seen = mapping.Account(
            exchange=exchange, account=account, mode=mode, client_id_tag=mark, first_seen_at=first_seen
        )
        return store.remember_account(seen).client_id_tag

    mark = remember("", "installation", "", secrets.token_hex(4))
    for gateway in gateways.values():
        remember(gateway.exchange, gateway.account, gateway.mode, mark)
    return mark


def broken_group(account: tuple[str, str] | None) -> str:
    return "broken" if account is None else f"broken/{'/'.join(account)}"


def utc_now() -> datetime:
    return datetime.now(UTC)


def new_id() -> str:
    """Return a query id: 24 hex digits that sort by time."""
    return f"{int(time.time() * 1000):012x}{secrets.token_hex(6)}"


def request_id() -> str:
    return secrets.token_hex(8)


def set_up_logging(redactor: Redactor, level: str = "INFO") -> None:
    """Log to standard error, one line each, with every secret taken out."""
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)-7s %(name)s: %(message)s"))
    handler.addFilter(RedactingFilter(redactor))
    logging.basicConfig(level=level, handlers=[handler], force=True)
    logging.getLogger("aiohttp").setLevel(logging.WARNING)
    logging.getLogger("alembic").setLevel(logging.WARNING)
    logging.getLogger("mail.log").setLevel(logging.ERROR)  # the mail sink of the demo


# --- Commands
# ------------------------------------------------------------------------------------------------


def serve(arguments: argparse.Namespace) -> int:
    """Run the server until it is told to stop."""
    try:
        settings = load_settings()
    except SettingsError as error:
        return refuse(str(error))
    redactor = Redactor(settings.secrets())
    set_up_logging(redactor)
    sys.setswitchinterval(0.0005)  # with the default of 5 ms one busy thread makes every hop wait 10 ms
    for warning in settings.warnings:
        log.warning("%s", warning)
    try:
        venues, simulators = _paper_venues(settings, arguments.paper)
    except SettingsError as error:
        return refuse(str(error))
    door = functools.cache(lambda: asgi.listen(settings.host, settings.port))

    def build() -> Server:
        return Server(settings, venues, unlimited=arguments.unlimited, listen=door)

    try:
        server = build()
    except (SettingsError, BadDatabaseUrl, AlreadyOwned, migrate.SchemaTooNew) as error:
        return refuse(redactor(str(error)))
    except OSError as error:
        return refuse(f"OMS_PORT: cannot listen on {settings.host}:{settings.port}: {error.strerror}")
    for simulator in simulators:
        log.info("paper: %s", simulator.replay.replace("\n", "; "))
    try:
        return keep_running(server, build)
    finally:
        for simulator in simulators:
            simulator.stop()


def keep_running(server: Server, build: Callable[[], Server]) -> int:
    """Run a server until it is told to stop; return its exit status.

    One that broke is taken down whole and another is built from the store in its place (R19): nothing of the
    old memory is kept. The port stays open: who calls in between waits a moment.
    """
    while True:
        server.start()
        log.info("serving on http://%s:%d, mode %s", *server.port.address, server.desk.mode())
        server.run()
        if not server.replaceable:
            return server.exit_status
        try:
            server = build()
        except (StoreUnavailable, AlreadyOwned) as error:
            log.critical("and it cannot start afresh: %s", error)
            return BROKEN
        log.warning("started afresh after an internal error")


def halt_without_server(arguments: argparse.Namespace) -> int:
    """Write a halt down where no server runs: the next start begins halted, cancels, and proves it."""
    try:
        settings = load_settings()
    except SettingsError as error:
        return refuse(str(error))
    redactor = Redactor(settings.secrets())
    set_up_logging(redactor, "WARNING")
    given = {name: getattr(arguments, name) for name in ("all", "exchange", "account", "user", "symbol")}
    given |= {"reason": arguments.reason, "everything": arguments.everything}
    reading = read_given(VERBS["halt"], {name: value for name, value in given.items() if value})
    command = reading.command
    if not isinstance(command, HaltTrading):
        return refuse(f"{reading.problems[0].message}; {reading.problems[0].hint}")
    known = set(settings.paper) | {exchange for exchange, _ in settings.vault.accounts()}
    if command.exchange is not None and command.exchange not in known:
        return refuse(
            f"--exchange {command.exchange}: not one of {', '.join(sorted(known))}; nothing is halted"
        )
    try:
        store = SqlStore(settings.db_url)
        migrate.upgrade(settings.db_url)
        store.acquire_owner()
    except AlreadyOwned as error:
        return refuse(
            redactor(
                f"{error}. Where a server runs use `oms halt`, which proves it, or make {settings.halt_file}"
            )
        )
    except (BadDatabaseUrl, migrate.SchemaTooNew, StoreUnavailable) as error:
        return refuse(
            redactor(f"{error}. A server that starts with the file {settings.halt_file} begins halted")
        )
    mode = "live" if settings.vault.accounts() else "paper"
    halt_id = new_id()
    try:
        store.commit(written_halt(command, query_id=halt_id, by=getpass.getuser(), mode=mode, now=utc_now()))
    except StoreUnavailable as error:
        return refuse(redactor(str(error)))
    finally:
        store.close()
    print(
        f"halt {halt_id} is on record. Nothing is canceled yet: no server runs. Start it; it begins halted,"
    )
    print("cancels what is open and proves it. `oms halt --status` shows how far it is.")
    return 0


def _paper_venues(settings: Settings, given: list[str]) -> tuple[list[PaperVenue], list[SimulatedExchange]]:
    """Find the paper exchanges: those named by --paper, else simulators of our own for those of OMS_PAPER
    that have no keys."""
    for name in settings.paper:
        if name not in LISTED:
            known = ", ".join(sorted(LISTED))
            raise SettingsError(f"OMS_PAPER: {name} cannot be simulated; write some of {known}")
    venues: list[PaperVenue] = []
    for text in given:
        name, _, url = text.partition("=")
        exchange = exchange_named(name)
        held = settings.vault.get(exchange)
        if exchange not in DIALECTS or not url.startswith("http"):
            raise SettingsError(f"--paper {text}: write EXCHANGE=URL, such as kraken=http://127.0.0.1:9001")
        if held is None:
            raise SettingsError(f"{exchange.upper()}_TRADE_KEYS: not set; --paper needs the keys it printed")
        keys = venue_keys(held)
        ws_url = url.replace("http", "ws", 1)
        venues.append(PaperVenue(exchange=exchange, url=url, ws_url=ws_url, keys=keys))
    if given:
        named = {venue.exchange for venue in venues}
        for exchange, account in settings.vault.accounts():
            held = settings.vault.get(exchange, account)
            if exchange not in named and held is not None:
                raise SettingsError(
                    f"{held.source}: set, but --paper does not name {exchange}, which would "
                    f"trade live beside paper; unset the keys, or add --paper {exchange}=URL"
                )
        return venues, []
    keyed = {exchange for exchange, _ in settings.vault.accounts()}
    simulators = [start_simulator(name) for name in settings.paper if name not in keyed]
    return [replace(simulator.venue, comparable=False) for simulator in simulators], simulators


def simulate(arguments: argparse.Namespace) -> int:
    """Run one simulated exchange until told to stop; print how to reach it."""
    set_up_logging(Redactor([]), "WARNING")
    keys = None
    if arguments.keys:
        public, private, *rest = arguments.keys.replace("\\n", "\n").split(",")
        keys = VenueKeys(public=public, private=private, passphrase=rest[0] if rest else None)
    with tempfile.TemporaryDirectory(prefix="oms-simulator-") as folder:
        try:
            faults = weather(arguments.faults, Random(arguments.seed)) if arguments.faults else None
            tls, trusted = _certificate(arguments, Path(folder))
        except BadRule as error:
            return refuse(f"--faults {error}")
        except certificates.BadCertificate as error:
            return refuse(f"--tls-cert {error}")
        if arguments.swaps and not LISTED[arguments.exchange].swaps:
            those = ", ".join(name for name, listed in sorted(LISTED.items()) if listed.swaps)
            return refuse(f"--swaps: {arguments.exchange} is simulated without contracts; {those} have them")
        try:
            running = start_simulator(
                arguments.exchange,
                port=arguments.port,
                keys=keys,
                faults=faults,
                speed=arguments.speed,
                limits=not arguments.unlimited,
                made_up=arguments.made_up,
                swaps=arguments.swaps,
                tls=tls,
            )
        except OSError as error:
            return refuse(f"--port {arguments.port}: cannot listen there: {error.strerror}")
        held = running.venue.keys
        parts = (held.public, held.private.replace("\n", "\\n"), held.passphrase)  # PEM has line breaks
        print(f"url={running.venue.url}")
        print(f"{arguments.exchange.upper()}_TRADE_KEYS={','.join(part for part in parts if part)}")
        print(f"admin_token={running.server.admin_token}")
        if trusted is not None:
            # Python's ssl and ccxt read the first, requests the second.
            print(f"SSL_CERT_FILE={trusted}\nREQUESTS_CA_BUNDLE={trusted}")
        print(running.replay, flush=True)
        stop = threading.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: stop.set())
        stop.wait()
        running.stop()
    return 0


def _certificate(arguments: argparse.Namespace, folder: Path) -> tuple[ssl.SSLContext | None, Path | None]:
    """Return what the port shows of itself, and the file to trust where it was made here."""
    if arguments.tls_cert or arguments.tls_key:
        if not (arguments.tls_cert and arguments.tls_key):
            raise certificates.BadCertificate("and --tls-key go together; give both")
        return certificates.from_files(Path(arguments.tls_cert), Path(arguments.tls_key)), None
    if arguments.tls:
        return certificates.self_signed(folder, "127.0.0.1", utc_now()), certificates.certificate_file(folder)
    return None, None


def venue_keys(held: ExchangeKeys) -> VenueKeys:
    """Return keys as a gateway takes them; raise SettingsError for those that lack their third part."""
    if DIALECTS[held.exchange].has_passphrase and not held.passphrase:
        raise SettingsError(
            f"{held.source}: the keys of {held.exchange} have a passphrase, which is missing; "
            "write <PUBLIC KEY>,<PRIVATE KEY>,<PASSPHRASE>"
        )
    return VenueKeys(public=held.public, private=held.private, passphrase=held.passphrase or None)


def exchange_named(text: str) -> str:
    """Return our name of an exchange: gdax is Coinbase Exchange."""
    return EXCHANGE_ALIASES.get(text.lower(), text.lower())


def refuse(message: str) -> int:
    print(f"oms: {message}", file=sys.stderr)
    return 2


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="./oms", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    verbs = parser.add_subparsers(dest="verb")
    commands: dict[str, Callable[[argparse.Namespace], int]] = {}

    def verb(name: str, run: Callable[[argparse.Namespace], int], text: str) -> argparse.ArgumentParser:
        commands[name] = run
        return verbs.add_parser(name, help=text)

    served = verb("serve", serve, "run the server (the default)")
    served.add_argument(
        "--paper",
        action="append",
        default=[],
        metavar="EXCHANGE=URL",
        help="this exchange is the simulator there (may be given again); no other may have keys",
    )
    served.add_argument("--unlimited", action="store_true", help="no rate limits of our own (paper only)")
    halted = verb("halt", halt_without_server, "halt in the database of a server that does not run")
    halted.add_argument("--all", action="store_true", help="everything; or name what is to be halted:")
    halted.add_argument("--exchange", type=exchange_named)
    for name in ("account", "user", "symbol", "reason"):
        halted.add_argument(f"--{name}")
    halted.add_argument("--everything", action="store_true", help="cancel orders that are not ours as well")
    simulated = verb("simulator", simulate, "run one simulated exchange")
    simulated.add_argument("--exchange", required=True, type=exchange_named, choices=sorted(LISTED))
    simulated.add_argument("--port", type=int, default=0, help="any free one when absent")
    simulated.add_argument("--keys", help="PUBLIC,PRIVATE[,PASSPHRASE] of its one account")
    simulated.add_argument(
        "--faults", metavar="|".join([*PROFILES, "FILE"]), help="the weather; none when absent"
    )
    simulated.add_argument("--seed", type=int, default=0, help="the same seed repeats the same faults")
    simulated.add_argument("--speed", type=float, default=1.0, help="how fast the recording is played")
    simulated.add_argument("--unlimited", action="store_true", help="without the exchange's rate limits")
    simulated.add_argument("--tls", action="store_true", help="https with a certificate made now")
    simulated.add_argument("--tls-cert", metavar="FILE", help="https with this certificate (PEM)")
    simulated.add_argument("--tls-key", metavar="FILE", help="and its key (PEM)")
    simulated.add_argument("--made-up", action="store_true", help="invented markets of 17 assets as well")
    simulated.add_argument("--swaps", action="store_true", help="perpetual contracts as well (okx, bybit)")
    verb(
        "demo", lambda _: demo.show(sys.modules[__name__]), "show the main job and take everything down again"
    )
    played = verb(
        "run", lambda chosen: demo.play(sys.modules[__name__], chosen), "leave the same world up to play with"
    )
    played.add_argument("--port", type=int, default=8888)

    arguments = parser.parse_args(sys.argv[1:] if argv is None else argv)
    if arguments.verb is None:
        arguments = parser.parse_args(["serve"])
    return commands[arguments.verb](arguments)


if __name__ == "__main__":
    sys.exit(main())
