"""Sub-interpreters: the native half knows one interpreter, and says so in another. In a process of its own."""

from support import ends_well


def test_a_sub_interpreter_is_refused_and_the_main_one_is_unharmed():
    ends_well(
        """
        import os, quark
        from quark import blocking
        try:
            import _interpreters as interpreters
            ways = [lambda: interpreters.create("isolated"), lambda: interpreters.create("legacy")]
        except ImportError:
            import _xxsubinterpreters as interpreters
            ways = [lambda: interpreters.create(isolated=True), lambda: interpreters.create(isolated=False)]

        def imported(interpreter):
            reader, writer = os.pipe()
            interpreters.run_string(interpreter, f'''if True:
                import os
                try:
                    import quark
                except ImportError as error:
                    text = str(error)
                else:
                    text = "imported"
                os.write({writer}, text.encode())
                ''')
            interpreters.destroy(interpreter)
            os.close(writer)
            with open(reader) as reader:
                return reader.read()

        with blocking.Silo("a", membership="memory://a", handler=lambda request: request.payload) as silo:
            for way in ways:
                text = imported(way())
                assert "subinterpreter" in text, text
                assert silo.call("T", "1", "", b"x", timeout=20) == b"x"
        """
    )
