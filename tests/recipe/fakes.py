"""What the components that tests register have for methods: a recipe is checked on constructors."""


def never_called(self, *args, **kwargs):
    raise AssertionError(f"{type(self).__name__} was run, and a recipe is checked without running")
