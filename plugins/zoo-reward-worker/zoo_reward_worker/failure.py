"""What an error says in a line."""


def first_line(error: BaseException) -> str:
    """What the error says first; so that it says nothing where its class cannot say it."""
    try:
        text = str(error)
    # A reward's own class may raise anything: that must not hide that there was an error.
    except (Exception, SystemExit):
        text = ""
    return (text.strip().splitlines() or ["no message"])[0]
