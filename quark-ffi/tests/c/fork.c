/* A fork after the start. Not under valgrind, which counts what the child does not free. */
#define _POSIX_C_SOURCE 200809L
#include "check.h"
#include <sys/wait.h>
#include <unistd.h>

int main(void) {
    quark_error_t *error = NULL;
    quark_bytes_t *reply = NULL;
    quark_silo_t *self = start_echo("one", "memory://fork", NULL);
    /* In a forked child nothing works, and nothing that it does disturbs the parent. */
    fflush(NULL);
    pid_t child = fork();
    if (child == 0) {
        _exit(quark_silo_call(self, "T", "1", "", QUARK_BYTES(""), 0, &reply, NULL) == QUARK_NOT_RUNNING ? 0 : 1);
    }
    int status = 0;
    CHECK(waitpid(child, &status, 0) == child && WIFEXITED(status) && WEXITSTATUS(status) == 0);
    OK(quark_silo_call(self, "T", "1", "", QUARK_BYTES("x"), 20000, &reply, &error));
    quark_bytes_free(reply);

    quark_silo_free(self);
    return 0;
}
