"""Commands about notifications: rules, messages, acknowledgements."""

from __future__ import annotations

import argparse

from ..answers import Answer
from ..client import OMSClient
from ..views import show_facts, show_notifications, show_rule, show_rules
from .options import Add, names, page_options


def add_notifications(add: Add) -> None:
    rules = add("notification-rules", "your notification rules", _rules, show_rules)
    rules.add_argument("--everyone", action="store_true", help="everybody's; needs admin")

    rule = add("set-notification-rule", "have yourself told of events", _set_rule, show_rule)
    rule.add_argument("name", help="the same name replaces a rule")
    rule.add_argument("channel", choices=("in_app", "email", "webhook", "service"))
    rule.add_argument("--address", help="a mailbox, an https URL, the name of a service")
    rule.add_argument("--events", metavar="order_filled,halt", type=names, help="default: all")
    rule.add_argument("--severity", choices=("info", "warning", "critical"), help="the least; default info")
    rule.add_argument("--exchange", help="only what happened there")
    rule.add_argument("--of-bot", help="only what this bot asked for")
    rule.add_argument("--everyone", action="store_true", help="everybody's events; needs admin")
    rule.add_argument("--digest-minutes", type=int, metavar="N", help="one message for so many minutes")
    rule.add_argument("--digest-at", metavar="HH:MM", help="one message a day, at this time")
    rule.add_argument("--quiet-from", metavar="HH:MM", help="only what is critical from then on")
    rule.add_argument("--quiet-until", metavar="HH:MM")
    rule.add_argument("--time-zone", metavar="ZONE", help="of these times, such as Europe/Berlin")
    rule.add_argument("--suppress-s", type=int, metavar="SECONDS", help="tell of alike events no sooner")
    rule.add_argument("--repeat-s", type=int, metavar="SECONDS", help="repeat what is critical; 0: never")
    rule.add_argument("--of-user", help="whose rule; another's needs admin")
    rule.add_argument("--dry-run", action="store_true", help="check it, and change nothing")

    forget = add("delete-notification-rule", "forget a notification rule", _delete_rule, show_facts)
    forget.add_argument("name")
    forget.add_argument("--of-user", help="whose rule; another's needs admin")

    told = add("notifications", "what you were told, newest first", _notifications, show_notifications)
    told.add_argument("--unacknowledged", action="store_true", help="only what you have not acknowledged")
    told.add_argument("--channel", choices=("in_app", "email", "webhook", "service"))
    told.add_argument("--after", help="latest of an earlier answer: only what is newer")
    told.add_argument("--wait-s", type=int, metavar="SECONDS", help="wait while there is nothing to show")
    page_options(told)

    seen = add("acknowledge", "say that you have seen a message", _acknowledge, show_facts)
    seen.add_argument("message_id")

    tried = add("test-notification", "send a test message as a rule says", _test_rule, show_facts)
    tried.add_argument("name")


def _rules(client: OMSClient, options: argparse.Namespace) -> Answer:
    return client.get_notification_rules(everyone=options.everyone)


def _set_rule(client: OMSClient, options: argparse.Namespace) -> Answer:
    return client.set_notification_rule(
        options.name,
        options.channel,
        address=options.address,
        events=options.events,
        severity=options.severity,
        exchange=options.exchange,
        of_bot=options.of_bot,
        everyone=options.everyone,
        digest_minutes=options.digest_minutes,
        digest_at=options.digest_at,
        quiet_from=options.quiet_from,
        quiet_until=options.quiet_until,
        time_zone=options.time_zone,
        suppress_s=options.suppress_s,
        repeat_s=options.repeat_s,
        user=options.of_user,
        dry_run=options.dry_run,
    )


def _delete_rule(client: OMSClient, options: argparse.Namespace) -> Answer:
    return client.delete_notification_rule(options.name, user=options.of_user)


def _notifications(client: OMSClient, options: argparse.Namespace) -> Answer:
    return client.get_notifications(
        unacknowledged=options.unacknowledged,
        channel=options.channel,
        limit=options.limit,
        cursor=options.cursor,
        after=options.after,
        wait_s=options.wait_s,
    )


def _acknowledge(client: OMSClient, options: argparse.Namespace) -> Answer:
    return client.acknowledge_notification(options.message_id)


def _test_rule(client: OMSClient, options: argparse.Namespace) -> Answer:
    return client.test_notification(options.name)
