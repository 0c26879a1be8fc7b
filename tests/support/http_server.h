/* http_server.h - a server on 127.0.0.1 that misbehaves as told.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef KERF_TESTS_HTTP_SERVER_H
#define KERF_TESTS_HTTP_SERVER_H

#include <stdbool.h>
#include <stddef.h>

/* What is answered to one target. Of several with the same target, the first that is not used up
 * answers; without one the answer is 404. "@" in headers and bodies becomes the server's own
 * address, "http://127.0.0.1:PORT". */
typedef struct http_reply {
    const char *target; /* "/simple/x/", with its query */
    unsigned times;     /* requests that it answers; 0 = any number */
    int status;         /* 0 = 200 */
    const char *type;   /* Content-Type, or NULL */
    const char *etag;   /* with quotes, or NULL */
    const char *extra;  /* further header lines, each with CR LF, or NULL */
    const char *text;   /* the body as a string; NULL: body and n */
    const void *body;
    size_t n;
    size_t claim;   /* Content-Length to claim; 0 = the truth */
    bool no_length; /* say none; the end of the connection ends the body */
    size_t cut;     /* close the connection after so many bytes of the body; 0 = don't */
    bool stall;     /* with cut: instead of closing, say nothing more */
    bool ranges;    /* honour Range and If-Range */
} http_reply;

typedef struct http_server http_server;

/* Serves copies of the replies. Aborts the test on failure. */
http_server *http_server_start(const http_reply *replies, size_t n_replies);
void http_server_stop(http_server *server);

unsigned http_server_port(const http_server *server);
/* "http://127.0.0.1:PORT" and target, to be freed with free(). */
char *http_server_url(const http_server *server, const char *target);

/* Requests so far; the head of request i ("GET /x HTTP/1.1\r\nHost: ..."), valid until the stop. */
size_t http_server_n_requests(http_server *server);
const char *http_server_request(http_server *server, size_t i);

#endif /* KERF_TESTS_HTTP_SERVER_H */
