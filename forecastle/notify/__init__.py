"""Notifications: who has to know what, told by e-mail, webhook or log, and not more often than helps."""
