/* run_recorded.c - a run of which one line of JSON is left, whatever becomes of it
 * SPDX-License-Identifier: MIT
 *
 * The run is a child, which may shut itself in; what it prints on stdout comes through a pipe, and its first error
 * through shared memory. This process waits, passes on the signals that ask for an end, and writes the line when the
 * child is gone, also where a signal has ended it. If this process is killed the child is, too, as one process would
 * be: who asks again must not find the image in use by a run that nobody waits for.
 */
#include "run_recorded.h"

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <limits.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "every_args.h"
#include "record_answer.h"
#include "run_note.h"
#include "uri.h"

struct recorded {
    struct record_facts facts;
    struct record_answer answer;
    char *folder;
    int sink; /* where the line goes */
    int from; /* what the child prints */
};

/* ---- where it goes ------------------------------------------------------------------------------------- */

/* A line, or as much of it as a full device has left, and then another one. */
static bool begins_as_records(const char *name)
{
    static const char begin[] = "{\"schema\":\"qcbm.";
    char bytes[256];
    int fd = open(name, O_RDONLY | O_CLOEXEC);
    ssize_t n = fd < 0 ? -1 : pread(fd, bytes, sizeof bytes, 0);
    size_t matched = 0;

    if (fd >= 0)
        close(fd);
    for (ssize_t i = 0; i < n && matched < sizeof begin - 1; i++) {
        if (matched > 0 && bytes[i] == '\n')
            matched = 0;
        else if (bytes[i] != begin[matched++])
            return false;
    }
    return n >= 0;
}

/* A line at the end of an image would be harm to it, or of JSON, and it is soon done to mix up two names. What is there
 * already has to look like records; of a pipe or a terminal nothing is known. */
static bool may_append(const char *name)
{
    struct stat st;
    bool may;

    if (stat(name, &st) != 0 || (!S_ISREG(st.st_mode) && !S_ISBLK(st.st_mode)))
        return true;
    may = S_ISREG(st.st_mode) && (st.st_size == 0 || begins_as_records(name));
    if (!may)
        cmd_error("'%s' has something else than records: none is appended to it", name);
    return may;
}

static bool open_sink(struct recorded *r)
{
    const char *name = every_args.record;

    if (strcmp(name, "-") == 0) {
        r->sink = STDOUT_FILENO;
        return true;
    }
    if (!may_append(name))
        return false;
    r->sink = open(name, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0666);
    if (r->sink < 0)
        cmd_error("Could not open '%s' for the record: %s", name, strerror(errno));
    return r->sink >= 0;
}

/* Of the file that the record goes to, or what was asked for. */
static char *folder_name(void)
{
    char *copy = strdup(every_args.record_dir ? every_args.record_dir : every_args.record), *folder = NULL;

    if (copy && every_args.record_dir)
        folder = realpath(copy, NULL);
    else if (copy)
        folder = realpath(dirname(copy), NULL); /* of "-" it is "." */
    free(copy);
    return folder;
}

/* The line has to have room for the name of a file in it, whatever bytes that is made of. */
static bool find_folder(struct recorded *r)
{
    char *shown;
    bool ok;

    r->folder = folder_name();
    if (!r->folder || (every_args.record_dir && access(r->folder, W_OK | X_OK) != 0)) {
        cmd_error("Could not use the folder of the record '%s': %s",
                  every_args.record_dir ? every_args.record_dir : every_args.record, strerror(errno));
        return false;
    }
    shown = record_string(r->folder);
    ok = shown && strlen(shown) < RECORD_BRIEF / 2;
    if (!ok)
        cmd_error("the name of the folder '%s' is too long for a record: --record-dir names another one", r->folder);
    free(shown);
    return ok;
}

/* ---- the child ----------------------------------------------------------------------------------------- */

static volatile sig_atomic_t child;
static const int passed_on[] = { SIGINT, SIGTERM, SIGHUP, SIGQUIT };
enum { N_PASSED_ON = sizeof passed_on / sizeof passed_on[0] };

static void pass_on(int sig)
{
    int saved = errno;

    if (child > 0)
        kill((pid_t)child, sig);
    errno = saved;
}

/* What was ignored when we were started (nohup) stays so, here and in the child. */
static void catch_signals(void)
{
    struct sigaction old, new = { .sa_handler = pass_on };

    for (unsigned i = 0; i < N_PASSED_ON; i++) {
        if (sigaction(passed_on[i], NULL, &old) == 0 && old.sa_handler != SIG_IGN)
            sigaction(passed_on[i], &new, NULL);
    }
}

static void block(int how)
{
    sigset_t set;

    sigemptyset(&set);
    for (unsigned i = 0; i < N_PASSED_ON; i++)
        sigaddset(&set, passed_on[i]);
    sigprocmask(how, &set, NULL);
}

static void be_child(const struct recorded *r, int to, pid_t parent)
{
    (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent) /* it was ended before that */
        _exit(EXIT_FAILED);
    if (dup2(to, STDOUT_FILENO) < 0)
        _exit(EXIT_FAILED);
    close(to);
    close(r->from);
    if (r->sink != STDOUT_FILENO)
        close(r->sink);
    block(SIG_UNBLOCK);
}

/* Where the image could not be opened, as it is locked, or was changed, its tag is read once more; nothing is done on
 * the word of it but naming the image. What is behind a server nobody here has changed, and a server that failed is not
 * asked again. */
static void note_tag(void)
{
    const char *path = run_note()->image;
    struct qcbm_image *img;
    struct qcbm_error err;

    if (!*path || run_note()->raw || (uri_is_server(path) && (run_note()->tag[0] || run_note()->failed)))
        return;
    if (cmd_try_open(path, QCBM_OPEN_FORCE_SHARE | QCBM_OPEN_NO_LOCK, &img, &err) == 0)
        qcbm_close(img);
}

static int run_child(const struct cmd *cmd, int argc, char **argv, int (*job)(const struct cmd *, int, char **))
{
    int code = job(cmd, argc, argv);

    note_tag();
    return code;
}

/* Returns as fork() does. */
static pid_t start(struct recorded *r)
{
    pid_t parent = getpid(), pid;
    int ends[2];

    if (!run_note_share() || pipe2(ends, O_CLOEXEC) != 0)
        return -1;
    r->from = ends[0];
    (void)signal(SIGCHLD, SIG_DFL); /* where it is ignored, nobody is told how a child ended */
    block(SIG_BLOCK);               /* until it is known whom to pass them on to */
    pid = fork();
    if (pid == 0) {
        be_child(r, ends[1], parent);
        return 0;
    }
    child = pid;
    if (pid > 0)
        catch_signals();
    block(SIG_UNBLOCK);
    close(ends[1]);
    return pid;
}

static void listen_to(struct recorded *r)
{
    char bytes[1 << 14];
    ssize_t n;

    while ((n = read(r->from, bytes, sizeof bytes)) != 0) {
        if (n < 0 && errno != EINTR)
            break;
        if (n > 0)
            record_answer_take(&r->answer, bytes, (size_t)n);
    }
    close(r->from);
}

static void wait_for(struct recorded *r)
{
    int status = 0;
    siginfo_t ended;
    pid_t got, pid = (pid_t)child;

    while (waitid(P_PID, (id_t)pid, &ended, WEXITED | WNOWAIT) < 0 && errno == EINTR)
        ;
    child = 0; /* from here on its number may be that of another process */
    do
        got = waitpid(pid, &status, 0);
    while (got < 0 && errno == EINTR);
    if (got > 0 && WIFSIGNALED(status)) {
        r->facts.signal = WTERMSIG(status);
        r->facts.code = 128 + r->facts.signal;
    } else {
        r->facts.code = got > 0 ? WEXITSTATUS(status) : EXIT_FAILED;
    }
}

/* ---- the line ------------------------------------------------------------------------------------------ */

/* From malloc(), or NULL. With @details the answer is there, and not in the line. */
static char *make_line(const struct recorded *r, const char *details, bool brief)
{
    char *who = record_who(&r->facts, brief), *end = record_end(&r->facts, brief), *line = NULL;
    char *shown = details ? record_string(details) : strdup("null");
    bool has_result = !details && record_answer_is_whole(&r->answer) && !r->answer.lost;
    int len = has_result ? (int)r->answer.len : 4;

    if (who && end && shown &&
        asprintf(&line, "%.*s,%.*s,\"details\":%s,\"result\":%.*s}\n", (int)strlen(who) - 1, who, (int)strlen(end) - 2,
                 end + 1, shown, len, has_result ? r->answer.line : "null") < 0)
        line = NULL;
    free(who);
    free(end);
    free(shown);
    return line;
}

/* One that fits, with a file beside it if there is more. */
static char *make_record(struct recorded *r)
{
    char *line;

    if (!r->answer.spilled) {
        line = make_line(r, NULL, false);
        if (!line || strlen(line) < RECORD_LINE) /* and an end of line that may come before it */
            return line;
        free(line);
        if (!record_answer_is_whole(&r->answer)) /* nothing of it can be kept; the rest can */
            record_answer_drop(&r->answer);
        record_answer_spill(&r->answer);
    }
    bool there = record_answer_close(&r->answer);

    if (r->answer.lost && r->facts.code == EXIT_DONE)
        r->facts.code = EXIT_FAILED; /* what was answered is gone */
    line = make_line(r, there ? r->answer.path : NULL, false);
    if (line && strlen(line) >= RECORD_LINE) {
        free(line);
        line = make_line(r, there ? r->answer.path : NULL, true); /* fits: RECORD_BRIEF */
    }
    return line;
}

/* A device that was full may have left the beginning of a line. The next one is not to share its line with that. */
static bool ends_within_a_line(const char *name)
{
    struct stat st;
    char last = '\n';
    int fd;

    if (stat(name, &st) != 0 || !S_ISREG(st.st_mode) || st.st_size == 0)
        return false;
    fd = open(name, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return false;
    if (pread(fd, &last, 1, st.st_size - 1) < 0)
        last = '\n';
    close(fd);
    return last != '\n';
}

/* A line that another run is writing may be there in part, for those who look at the end of the file. Who has the lock
 * for ten seconds is no run of ours, and is not waited for. */
static void wait_for_turn(int sink)
{
    const struct timespec nap = { 0, 1000000 };
    struct stat st;

    if (fstat(sink, &st) != 0 || !S_ISREG(st.st_mode))
        return;
    for (int i = 0; i < 10000 && flock(sink, LOCK_EX | LOCK_NB) != 0 && errno == EWOULDBLOCK; i++)
        (void)nanosleep(&nap, NULL);
}

/* One write: to a pipe, and at the end of a file, no other process gets between. What is left of it when a device is
 * full cannot be taken back. */
static bool put_line(const struct recorded *r, const char *line)
{
    char text[RECORD_LINE + 1];
    bool end_first;
    ssize_t n;
    int len;

    wait_for_turn(r->sink);
    end_first = r->sink != STDOUT_FILENO && ends_within_a_line(every_args.record);
    len = snprintf(text, sizeof text, "%s%s", end_first ? "\n" : "", line);
    if (len >= (int)sizeof text)
        len = (int)sizeof text - 1;
    do
        n = write(r->sink, text, (size_t)len);
    while (n < 0 && errno == EINTR);
    if (n == len) {
        (void)flock(r->sink, LOCK_UN); /* what was given us as stdout may stay open elsewhere */
        return true;
    }
    cmd_error("could not write the record of this run to '%s': %s; exit code without that: %d", every_args.record,
              strerror(n < 0 ? errno : ENOSPC), r->facts.code);
    return false;
}

static int finish(struct recorded *r)
{
    struct timespec now;
    char *line;

    wait_for(r);
    clock_gettime(CLOCK_MONOTONIC, &now);
    r->facts.seconds =
        (double)(now.tv_sec - r->facts.begun.tv_sec) + (double)(now.tv_nsec - r->facts.begun.tv_nsec) / 1e9;
    r->facts.wrong_answer = r->answer.json.wrong;
    if (r->facts.wrong_answer && r->facts.code == EXIT_DONE)
        r->facts.code = cmd_error("the answer is no JSON, and not recorded");
    line = make_record(r);
    (void)signal(SIGPIPE, SIG_IGN); /* that nobody reads the record is told as any other failure */
    if (!line)
        return cmd_error("no memory for the record of this run");
    if (!put_line(r, line) && r->facts.code == EXIT_DONE)
        r->facts.code = EXIT_FAILED;
    free(line);
    return r->facts.code;
}

int run_recorded(const struct cmd *cmd, int argc, char **argv, int (*job)(const struct cmd *, int, char **))
{
    static struct recorded r;
    int code = EXIT_FAILED;
    pid_t pid;

    r.facts.cmd = cmd;
    clock_gettime(CLOCK_REALTIME, &r.facts.started);
    clock_gettime(CLOCK_MONOTONIC, &r.facts.begun);
    if (!open_sink(&r) || !find_folder(&r))
        return EXIT_FAILED;
    r.answer.facts = &r.facts;
    r.answer.folder = r.folder;
    pid = start(&r);
    if (pid == 0)
        exit(run_child(cmd, argc, argv, job));
    if (pid < 0) {
        cmd_error("Could not start a process: %s", strerror(errno));
    } else {
        listen_to(&r);
        code = finish(&r);
    }
    record_answer_free(&r.answer);
    free(r.folder);
    if (r.sink != STDOUT_FILENO)
        close(r.sink);
    return code;
}
