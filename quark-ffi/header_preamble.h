/*
 * Quark: location-transparent messaging to actors.
 *
 * A program embeds a silo; silos find each other; a call to an actor reaches the one silo that owns it, whatever its
 * language, and the reply comes back.
 *
 *     quark_config_t *config = quark_config_new("silo-1");
 *     quark_config_set_membership(config, "redis://localhost");
 *     quark_config_set_handler(config, on_request, my_state, free_my_state);
 *     quark_error_t *error = NULL;
 *     quark_silo_t *silo = NULL;
 *     if (quark_silo_start(config, &silo, &error) != QUARK_OK) { ... quark_error_message(error) ... }
 *
 * Ownership
 *     What a function named `_new`, `_start` or `_call` gives is yours until you give it to the function named `_free`
 *     of its type; `_free(NULL)` is allowed. A `const char *` that a function returns belongs to the object it was asked
 *     of and lives as long as that does. A `quark_bytes_view_t` is borrowed; what it views must live until the function
 *     has returned. Freeing twice and using what was freed are forbidden.
 *
 * Errors
 *     Functions that can fail return a `quark_status_t`, QUARK_OK or the number of a QUARK_... constant. Most take a
 *     `quark_error_t **` as their last argument: NULL when you do not care, else it gets an error of yours on failure
 *     and is left alone on success. Outputs are written on success only. Every pointer is checked; NULL where none is
 *     allowed is QUARK_INVALID_ARGUMENT. Text is UTF-8. What a config cannot use is reported where it is set or,
 *     at the latest, at the start. Times are in milliseconds; for a setting 0 stands for its default.
 *
 * Threads
 *     Every function may be called from any thread; objects may be shared between threads, except that nobody may use
 *     one while it is freed. After a fork, every call in the child gives QUARK_NOT_RUNNING; a callback that comes back
 *     there on a thread of Quark's ends the child, with 0.
 *
 * Callbacks
 *     A callback runs on threads of Quark's, but for quark_placement_fn, which is asked where a call is made. Each
 *     handler has one of its own, and so have replies and events together, unless quark_config_set_callback_threads says
 *     otherwise: one that never returns holds up nobody else. Between callbacks these threads also move messages; one
 *     that is in a callback for more than a millisecond or two is replaced in that. SIGPIPE is blocked on them, and in
 *     programs that a callback starts, unless it unblocks it there. Requests of one handler start in the order of arrival. Everything may be called from inside: a
 *     blocking call lets another thread take over meanwhile; a stop begins and happens after the callback has returned.
 *     `user_data` comes first; its finalizer, which may be NULL, runs exactly once, when the
 *     last callback has returned or when the function that took it failed. A callback must not throw or longjmp.
 *
 * Batches
 *     Where single callbacks are too many, quark_config_set_batch_handler and quark_config_set_ending_batch_callback take
 *     in one callback what has come by then. Both kinds may stand side by side.
 *
 * Event loops
 *     A program with a loop of its own need not be called by other threads: quark_config_set_loop has callbacks and
 *     finalizers wait until the program runs them with quark_loop_run, which it does when quark_loop_descriptor is
 *     readable.
 *
 * Promise
 *     QUARK_ABI_VERSION and the SONAME are raised when something breaks. Numbers never change; new ones are appended.
 *     The library never prints, aborts or exits.
 */

/** The bytes of a string literal, without its NUL. */
#ifdef __cplusplus
#define QUARK_BYTES(literal) \
    (quark_bytes_view_t { reinterpret_cast<const uint8_t *>("" literal ""), sizeof(literal) - 1 })
#else
#define QUARK_BYTES(literal) ((quark_bytes_view_t){(const uint8_t *)("" literal ""), sizeof(literal) - 1})
#endif

