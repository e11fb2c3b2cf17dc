/* The least a client can do: epoll, one read per wake-up, and the clock of the program. bench/compare.py builds and runs it.
 *
 *   c_client PORT STREAMS REQUESTS TOKENS     one line of JSON: ttft_ms and itl_ms, each with mean, p50 and p99
 *
 * It knows the bundled mock and nothing else: an event is never cut, and "0\r\n\r\n" ends an answer.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <time.h>
#include <unistd.h>

#define MOST_TOKENS 4096
#define CONTENT "\"content\":\""

struct stream { int fd, count; double sent, at[MOST_TOKENS]; char tail[5]; };

static double *ttfts, *gaps;
static long n_ttfts, n_gaps;

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1e3 + t.tv_nsec / 1e6;
}

static void die(const char *what) { perror(what); exit(1); }

static void ask(struct stream *s, const char *request, int length) {
    s->count = 0;
    memset(s->tail, 0, sizeof s->tail);
    s->sent = now();
    if (write(s->fd, request, length) != length) die("write");
}

/* Stamps the events of one read. Returns whether the answer is complete. */
static int take(struct stream *s, const char *data, long length, double at) {
    for (const char *p = data; (p = memmem(p, data + length - p, CONTENT, strlen(CONTENT))); p++)
        if (p[strlen(CONTENT)] != '"' && s->count < MOST_TOKENS) s->at[s->count++] = at; /* an empty one is none */
    for (long i = length < 5 ? 0 : length - 5; i < length; i++) {
        memmove(s->tail, s->tail + 1, 4);
        s->tail[4] = data[i];
    }
    return !memcmp(s->tail, "0\r\n\r\n", 5);
}

static void keep(const struct stream *s, int tokens) {
    int count = s->count < tokens ? s->count : tokens; /* an event with usage may follow */
    if (!count) { fprintf(stderr, "an answer without events, ended by %.5s\n", s->tail); exit(1); }
    ttfts[n_ttfts++] = s->at[0] - s->sent;
    for (int i = 1; i < count; i++) gaps[n_gaps++] = s->at[i] - s->at[i - 1];
}

static int ascending(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static void tell(const char *name, double *values, long n, const char *end) {
    double sum = 0;
    for (long i = 0; i < n; i++) sum += values[i];
    qsort(values, n, sizeof *values, ascending);
    printf("\"%s\": {\"mean\": %f, \"p50\": %f, \"p99\": %f}%s", name, n ? sum / n : 0, n ? values[(n - 1) / 2] : 0,
           n ? values[(long)(0.99 * (n - 1))] : 0, end);
}

int main(int argc, char **argv) {
    if (argc != 5) { fprintf(stderr, "c_client PORT STREAMS REQUESTS TOKENS\n"); return 2; }
    int port = atoi(argv[1]), streams = atoi(argv[2]), requests = atoi(argv[3]), tokens = atoi(argv[4]);
    char body[2048] = "", request[4096], buffer[65536];
    strcat(body, "{\"model\": \"mock\", \"stream\": true, \"messages\": [{\"role\": \"user\", \"content\": \"");
    for (int i = 0; i < 128; i++) strcat(body, "word ");
    sprintf(body + strlen(body), "\"}], \"max_tokens\": %d}", tokens);
    int length = sprintf(request, "POST /v1/chat/completions HTTP/1.1\r\nHost: mock\r\nContent-Length: %zu\r\n\r\n%s",
                         strlen(body), body);
    ttfts = malloc(requests * sizeof *ttfts);
    gaps = malloc((size_t)requests * tokens * sizeof *gaps);
    struct stream *all = calloc(streams, sizeof *all);
    int poll = epoll_create1(0), asked = 0, open = 0;
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    for (; open < streams && asked < requests; open++, asked++) {
        struct stream *s = &all[open];
        struct epoll_event event = {.events = EPOLLIN, .data.ptr = s};
        if ((s->fd = socket(AF_INET, SOCK_STREAM, 0)) < 0 || connect(s->fd, (void *)&to, sizeof to)) die("connect");
        setsockopt(s->fd, IPPROTO_TCP, TCP_NODELAY, &(int){1}, sizeof(int));
        epoll_ctl(poll, EPOLL_CTL_ADD, s->fd, &event);
        ask(s, request, length);
    }
    while (open) {
        struct epoll_event events[256];
        int ready = epoll_wait(poll, events, 256, -1);
        for (int i = 0; i < ready; i++) {
            struct stream *s = events[i].data.ptr;
            long got = read(s->fd, buffer, sizeof buffer);
            double at = now();
            if (got < 0) die("read");
            if (!got) { fprintf(stderr, "the mock closed a connection after %d events\n", s->count); exit(1); }
            if (!take(s, buffer, got, at)) continue;
            keep(s, tokens);
            if (asked < requests) asked++, ask(s, request, length);
            else close(s->fd), open--;
        }
    }
    printf("{");
    tell("ttft_ms", ttfts, n_ttfts, ", ");
    tell("itl_ms", gaps, n_gaps, "");
    printf(", \"n\": %ld}\n", n_ttfts);
    return 0;
}
