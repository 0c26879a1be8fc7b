/* http_server.c - a server on 127.0.0.1 that misbehaves as told.
 *
 * One thread, one connection at a time, one request a connection: enough for a client that does one
 * thing after the other, and nothing that depends on timing.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "http_server.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define MAX_REQUESTS 64
#define MAX_REPLIES  64
#define MAX_HEAD     8192

struct http_server {
    http_reply replies[MAX_REPLIES]; /* with copies of all they point to */
    size_t n_replies;
    unsigned n_used[MAX_REPLIES]; /* of each reply */
    int listener;
    unsigned port;
    pthread_t thread;
    pthread_mutex_t mutex;
    char *requests[MAX_REQUESTS];
    size_t n_requests;
};

static void require(bool ok, const char *what)
{
    if (!ok) {
        (void)fprintf(stderr, "http_server: cannot %s\n", what);
        abort();
    }
}

static void send_all(int fd, const void *data, size_t n)
{
    const char *next = data;
    while (n > 0) {
        const ssize_t sent = send(fd, next, n, MSG_NOSIGNAL);
        if (sent <= 0) {
            return; /* the client has gone, which some tests want */
        }
        next += sent;
        n -= (size_t)sent;
    }
}

/* A copy with each "@" replaced by the server's address. */
static char *expand(const http_server *server, const char *text, size_t n, size_t *n_expanded)
{
    char address[40];
    char *copy = malloc(n * sizeof address + 1);
    size_t length = 0;
    require(copy != NULL, "allocate");
    (void)snprintf(address, sizeof address, "http://127.0.0.1:%u", server->port);
    for (size_t i = 0; i < n; i++) {
        if (text[i] == '@') {
            memcpy(copy + length, address, strlen(address));
            length += strlen(address);
        } else {
            copy[length++] = text[i];
        }
    }
    copy[length] = '\0';
    *n_expanded = length;
    return copy;
}

/* Reads up to the blank line; false when the client closes before. */
static bool read_head(int fd, char head[MAX_HEAD])
{
    size_t n = 0;
    while (n + 1 < MAX_HEAD) {
        const ssize_t got = recv(fd, head + n, 1, 0);
        if (got <= 0) {
            return false;
        }
        n++;
        head[n] = '\0';
        if (n >= 4 && strcmp(head + n - 4, "\r\n\r\n") == 0) {
            return true;
        }
    }
    return false;
}

static const http_reply *choose(http_server *server, const char *head)
{
    for (size_t i = 0; i < server->n_replies; i++) {
        const http_reply *reply = &server->replies[i];
        const size_t n = strlen(reply->target);
        if (strncmp(head + 4, reply->target, n) == 0 && head[4 + n] == ' ' &&
            (reply->times == 0 || server->n_used[i] < reply->times)) {
            server->n_used[i]++;
            return reply;
        }
    }
    return NULL;
}

/* Where a request's range begins, 0 for the whole: also where If-Range names another ETag. */
static size_t range_begin(const http_reply *reply, const char *head)
{
    const char *range = strstr(head, "\r\nRange: bytes=");
    const char *condition = strstr(head, "\r\nIf-Range: ");
    if (!reply->ranges || range == NULL) {
        return 0;
    }
    if (condition != NULL &&
        (reply->etag == NULL || strncmp(condition + 12, reply->etag, strlen(reply->etag)) != 0)) {
        return 0;
    }
    return strtoul(range + 15, NULL, 10);
}

static void send_head(const http_server *server, int fd, const http_reply *reply, size_t begin,
                      size_t n_body)
{
    char head[4096];
    size_t n = 0;
    size_t n_extra = 0;
    const bool unsatisfiable = begin > 0 && begin >= n_body;
    const int status = unsatisfiable        ? 416
                       : begin > 0          ? 206
                       : reply->status != 0 ? reply->status
                                            : 200;
    char *extra =
        reply->extra != NULL ? expand(server, reply->extra, strlen(reply->extra), &n_extra) : NULL;
#define ADD(...) n += (size_t)snprintf(head + n, sizeof head - n, __VA_ARGS__)
    ADD("HTTP/1.1 %d Told So\r\nConnection: close\r\n%s", status, extra != NULL ? extra : "");
    if (reply->type != NULL) {
        ADD("Content-Type: %s\r\n", reply->type);
    }
    if (reply->etag != NULL) {
        ADD("ETag: %s\r\n", reply->etag);
    }
    if (unsatisfiable) {
        ADD("Content-Range: bytes */%zu\r\n", n_body);
    } else if (begin > 0) {
        ADD("Content-Range: bytes %zu-%zu/%zu\r\n", begin, n_body - 1, n_body);
    }
    if (!reply->no_length) {
        ADD("Content-Length: %zu\r\n", unsatisfiable       ? (size_t)0
                                       : reply->claim != 0 ? reply->claim
                                                           : n_body - begin);
    }
    ADD("\r\n");
#undef ADD
    require(n < sizeof head, "send so long a head");
    send_all(fd, head, n);
    free(extra);
}

/* Holds the connection until the client gives up. */
static void stall(int fd)
{
    char byte;
    while (recv(fd, &byte, 1, 0) > 0) {
    }
}

static void answer(const http_server *server, int fd, const http_reply *reply, const char *head)
{
    static const http_reply missing = {.status = 404, .text = "no such thing"};
    size_t n = 0;
    char *expanded = NULL;
    if (reply == NULL) {
        reply = &missing;
    }
    if (reply->text != NULL) {
        expanded = expand(server, reply->text, strlen(reply->text), &n);
    } else {
        n = reply->n;
    }
    const char *body = expanded != NULL ? expanded : reply->body;
    const size_t begin = range_begin(reply, head);
    send_head(server, fd, reply, begin, n);
    if (begin < n) {
        const bool cut = reply->cut != 0 && reply->cut < n - begin;
        send_all(fd, body + begin, cut ? reply->cut : n - begin);
        if (cut && reply->stall) {
            stall(fd);
        }
    }
    free(expanded);
}

static void serve_one(http_server *server, int fd)
{
    char head[MAX_HEAD];
    const http_reply *reply = NULL;
    if (!read_head(fd, head)) {
        return;
    }
    (void)pthread_mutex_lock(&server->mutex);
    reply = choose(server, head);
    if (server->n_requests < MAX_REQUESTS) {
        server->requests[server->n_requests++] = strdup(head);
    }
    (void)pthread_mutex_unlock(&server->mutex);
    answer(server, fd, reply, head);
    (void)shutdown(fd, SHUT_WR);
}

static void *serve(void *ctx)
{
    http_server *server = ctx;
    int fd = -1;
    while ((fd = accept(server->listener, NULL, NULL)) >= 0) {
        serve_one(server, fd);
        (void)close(fd);
    }
    return NULL;
}

static void *copy_bytes(const void *data, size_t n)
{
    void *copy = NULL;
    if (data != NULL) {
        copy = malloc(n > 0 ? n : 1);
        require(copy != NULL, "allocate");
        memcpy(copy, data, n);
    }
    return copy;
}

static char *copy_text(const char *text)
{
    return copy_bytes(text, text != NULL ? strlen(text) + 1 : 0);
}

static http_reply copy_reply(const http_reply *reply)
{
    http_reply copy = *reply;
    copy.target = copy_text(reply->target);
    copy.type = copy_text(reply->type);
    copy.etag = copy_text(reply->etag);
    copy.extra = copy_text(reply->extra);
    copy.text = copy_text(reply->text);
    copy.body = copy_bytes(reply->body, reply->n);
    return copy;
}

static void free_copy(const void *copy)
{
    union {
        const void *in;
        void *out;
    } pointer = {copy}; /* ours, though the type promises not to write */
    free(pointer.out);
}

static void free_reply(http_reply *reply)
{
    free_copy(reply->target);
    free_copy(reply->type);
    free_copy(reply->etag);
    free_copy(reply->extra);
    free_copy(reply->text);
    free_copy(reply->body);
}

http_server *http_server_start(const http_reply *replies, size_t n_replies)
{
    struct sockaddr_in address = {.sin_family = AF_INET};
    socklen_t n = sizeof address;
    http_server *server = calloc(1, sizeof *server);
    require(server != NULL && n_replies <= MAX_REPLIES, "take so many replies");
    for (size_t i = 0; i < n_replies; i++) {
        server->replies[i] = copy_reply(&replies[i]);
    }
    server->n_replies = n_replies;
    server->listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    require(server->listener >= 0 &&
                bind(server->listener, (struct sockaddr *)&address, sizeof address) == 0 &&
                listen(server->listener, 8) == 0 &&
                getsockname(server->listener, (struct sockaddr *)&address, &n) == 0,
            "listen");
    server->port = ntohs(address.sin_port);
    require(pthread_mutex_init(&server->mutex, NULL) == 0 &&
                pthread_create(&server->thread, NULL, serve, server) == 0,
            "start a thread");
    return server;
}

void http_server_stop(http_server *server)
{
    if (server == NULL) {
        return;
    }
    (void)shutdown(server->listener, SHUT_RDWR); /* accept() returns */
    (void)pthread_join(server->thread, NULL);
    (void)close(server->listener);
    (void)pthread_mutex_destroy(&server->mutex);
    for (size_t i = 0; i < server->n_requests; i++) {
        free(server->requests[i]);
    }
    for (size_t i = 0; i < server->n_replies; i++) {
        free_reply(&server->replies[i]);
    }
    free(server);
}

unsigned http_server_port(const http_server *server)
{
    return server->port;
}

char *http_server_url(const http_server *server, const char *target)
{
    const size_t n = strlen(target) + 40;
    char *url = malloc(n);
    require(url != NULL, "allocate");
    (void)snprintf(url, n, "http://127.0.0.1:%u%s", server->port, target);
    return url;
}

size_t http_server_n_requests(http_server *server)
{
    (void)pthread_mutex_lock(&server->mutex);
    const size_t n = server->n_requests;
    (void)pthread_mutex_unlock(&server->mutex);
    return n;
}

const char *http_server_request(http_server *server, size_t i)
{
    (void)pthread_mutex_lock(&server->mutex);
    require(i < server->n_requests, "show a request that was not made");
    const char *head = server->requests[i];
    (void)pthread_mutex_unlock(&server->mutex);
    return head;
}
