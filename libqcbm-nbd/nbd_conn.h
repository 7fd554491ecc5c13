/* nbd_conn.h - a connection: requests, and the one thread that talks to the server
 * SPDX-License-Identifier: MIT
 *
 * After the connecting, libnbd's handle belongs to a thread of the connection, which the first request starts: not
 * earlier, so that a process can shut itself in between, and that thread is shut in with it. Others leave requests in a
 * queue and wait.
 *
 * What a server can do: answer late, never, endlessly, with nonsense, or go away. A request ends in one of three ways:
 * an answer, an error of the server's, or the end of the connection, after which all that are left and all that come
 * fail. Whoever waits looks at the clock: when nothing has come for the time of the options, or has come and completed
 * nothing for so long that even a slow net would have brought it, it cuts the socket, whatever the other thread is
 * doing with it. libnbd then gives all requests back, so no buffer is written to after its owner went on. */
#ifndef QCBM_NBD_CONN_H
#define QCBM_NBD_CONN_H

#include <libnbd.h>
#include <pthread.h>

#include "qcbm-nbd.h"

#define NBD_MAX_IN_FLIGHT 64u
#define NBD_REQUEST_BYTES (UINT64_C(4) << 20) /* more is asked for in pieces */
#define NBD_MAX_EXTENTS 65536u                /* of one answer; more are asked for again */
#define NBD_SLOWEST (UINT64_C(16) << 10)      /* bytes a second, of replies that come without a pause */

enum nbd_request_kind { NBD_READ, NBD_STATUS };

/* The answer to NBD_STATUS: pairs of a length and flags. */
struct nbd_answer {
    const char *context;
    uint32_t *pairs; /* from malloc() */
    size_t n;        /* pairs */
    bool given;      /* the context was in the reply */
    bool nomem;
};

/* Which bytes of a read have come: chunks in any order, none of them twice. */
struct nbd_pieces {
    struct {
        uint64_t from, to;
    } list[16];
    unsigned n;
    bool broken; /* some came twice, or in more pieces than anybody sends */
};

struct nbd_request {
    enum nbd_request_kind kind;
    uint64_t off, len;
    void *buf;                 /* of NBD_READ */
    struct nbd_answer *answer; /* of NBD_STATUS */
    struct nbd_pieces pieces;  /* of NBD_READ */
    bool in_flight, done;
    int error; /* errno, when it is done */
    struct nbd_request *next;
    struct qcbm_nbd *nbd;
};

/* What will be read soon (nbd_blocks.c). */
struct nbd_block {
    struct nbd_request request; /* .buf NULL: not asked for yet */
    uint64_t left;              /* bytes that nobody has taken */
    uint64_t since;             /* nbd->n_read_calls when it was told */
    unsigned users;             /* readers that wait for it or copy from it */
    struct nbd_block *next;     /* in the order in which they were told */
};

/* The last answer of base:allocation, for ->extent(). */
struct nbd_holes {
    struct nbd_answer answer;
    uint64_t from, end; /* of what it covers */
    size_t hint;        /* the pair that was found last */
    uint64_t hint_from; /* and where it begins */
};

struct qcbm_nbd {
    struct nbd_handle *handle;
    /* fixed once it is open */
    uint64_t size, min_block, max_block, memory;
    bool has_allocation; /* QCBM_NBD_ALLOCATION */
    unsigned max_in_flight, timeout_ms;
    bool kept;
    char *context;       /* of the options */
    int socket;          /* a copy of the descriptor, to cut it */
    int wake[2];         /* a pipe: there is something new for the thread */
    unsigned n_messages; /* of the handshake */
    /* under the lock */
    pthread_mutex_t lock;
    pthread_cond_t done; /* a request is */
    pthread_t thread;
    bool running, ending;
    struct nbd_request *first, *last; /* queue of what somebody waits for */
    unsigned in_flight;
    uint64_t bytes_in_flight; /* of what they ask for */
    /* When a request ended last, when something came last, or when the first of several was begun: milliseconds. */
    uint64_t last_done, last_heard;
    bool dead, late;
    char why[256]; /* it is dead */
    struct nbd_block *blocks;
    uint64_t block_bytes; /* of memory that they have */
    unsigned n_blocks;
    uint64_t n_read_calls;
    struct nbd_holes holes;
    struct qcbm_nbd_figures figures;
};

/* nbd_connect.c: fills what is fixed. */
int qcbmi_nbd_connect_to(struct qcbm_nbd *nbd, const char *uri, struct qcbm_error *err);
uint64_t qcbmi_nbd_clock_ms(void);

/* nbd_loop.c. All but qcbmi_nbd_stop() with the lock held, and so when they return. */
int qcbmi_nbd_start(struct qcbm_nbd *nbd, struct qcbm_error *err); /* the thread, if it does not run */
void qcbmi_nbd_stop(struct qcbm_nbd *nbd);                         /* and libnbd's handle is closed */
void qcbmi_nbd_queue(struct qcbm_nbd *nbd, struct nbd_request *request);
void qcbmi_nbd_wake(struct qcbm_nbd *nbd);
void qcbmi_nbd_wait(struct qcbm_nbd *nbd, const struct nbd_request *request); /* until it is done */
int qcbmi_nbd_blame(struct qcbm_nbd *nbd, const struct nbd_request *request, struct qcbm_error *err);

/* nbd_blocks.c. With the lock held. */
void qcbmi_nbd_block_tell(struct qcbm_nbd *nbd, uint64_t off, uint64_t len); /* unless it is there, or there are many */
/* The first that reaches into [@from, @to). */
struct nbd_block *qcbmi_nbd_block_in(const struct qcbm_nbd *nbd, uint64_t from, uint64_t to);
/* The next that there is memory for; NULL: none. Its buffer is there. */
struct nbd_block *qcbmi_nbd_block_next(struct qcbm_nbd *nbd);
void qcbmi_nbd_block_drop(struct qcbm_nbd *nbd, struct nbd_block *block);
void qcbmi_nbd_blocks_free(struct qcbm_nbd *nbd);

/* nbd_ahead.c, nbd_extents.c: of the backend. */
int qcbmi_nbd_read_at(void *self, uint64_t off, void *buf, size_t len, struct qcbm_error *err);
void qcbmi_nbd_will_read(void *self, uint64_t off, uint64_t len);
int qcbmi_nbd_extent(void *self, uint64_t off, bool *is_data, uint64_t *end, struct qcbm_error *err);

#endif
