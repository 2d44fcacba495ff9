"""Mail: what is to be sent, how it is put together, and who takes it.

A feature puts a :class:`Letter` into the :class:`Outbox` in the transaction of the change that it tells of. A job puts
the message together when it is sent, from what is so by then, and hands it to the relay. Nothing is lost; what the
relay has taken is not sent again, unless nobody could learn that the relay had taken it.
"""

from appointments.mail.links import Links
from appointments.mail.message import Action, Calendar, Mail, Sender
from appointments.mail.outbox import MAIL_OFF, Letter, Outbox

__all__ = ["MAIL_OFF", "Action", "Calendar", "Letter", "Links", "Mail", "Outbox", "Sender"]
