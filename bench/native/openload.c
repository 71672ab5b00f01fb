// Open-loop load: calls begin when their time has come, whether earlier ones were answered or not, and each has a deadline, as in life.
// What the server's MAX_CONCURRENT_STREAMS does not admit waits here, and is given up at its deadline; so is what was sent.
// usage: openload PORT callsPerSecond seconds warmupSeconds connections deadlineMs bodyfile [tls cert key]
// Prints one line of JSON; only calls that began after the warm-up are counted. A call is OK when its status 0 came within its deadline.
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <nghttp2/nghttp2.h>
#include <openssl/ssl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

typedef struct call {
  struct call *next;       // in the queue of its connection
  struct call *nextDue;    // in the order of deadlines, which is the order of beginnings
  struct conn *conn;
  double bornAt;           // microseconds
  size_t sent;
  int32_t stream;          // 0: not sent yet
  int status, grpc, over, counted;
} call;

typedef struct conn {
  int fd, wantsWrite, lost;
  SSL *ssl;
  nghttp2_session *session;
  unsigned inFlight;
  call *first, *last;      // calls that wait for a stream
  uint8_t *out;
  size_t capacity, length, offset;
} conn;

static int epollFd, lostConnections;
static char *body;
static size_t bodyLength;
static double deadlineUs;
static call *dueFirst, *dueLast;
static long offered, okCount, lateCount, shedCount, unsentCount, otherCount, lostCount;
static unsigned *latencies;
static long latencyCapacity;
static long statusCounts[32];

static double now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return t.tv_sec * 1e6 + t.tv_nsec / 1e3;
}

static void conclude(call *c, long *counter) {
  if (c->over) return;
  c->over = 1;
  if (c->counted) (*counter)++;
}

static ssize_t readBody(nghttp2_session *session, int32_t id, uint8_t *to, size_t length, uint32_t *flags, nghttp2_data_source *source, void *user) {
  call *c = source->ptr;
  size_t n = bodyLength - c->sent;
  if (n > length) n = length;
  memcpy(to, body + c->sent, n);
  c->sent += n;
  if (c->sent == bodyLength) *flags |= NGHTTP2_DATA_FLAG_EOF;
  return n;
}

#define FIELD(name, value, length) {(uint8_t *)name, (uint8_t *)(value), sizeof(name) - 1, length, 0}

static void sendCall(conn *to, call *c) {
  char timeout[24];
  double leftMs = (c->bornAt + deadlineUs - now()) / 1e3;
  int n = sprintf(timeout, "%um", (unsigned)(leftMs < 1 ? 1 : leftMs));
  nghttp2_nv fields[] = {FIELD(":method", "POST", 4), FIELD(":scheme", "http", 4), FIELD(":path", "/pkg.Svc/Method", 15), FIELD(":authority", "svc.mesh:80", 11),
                         FIELD("content-type", "application/grpc", 16), FIELD("te", "trailers", 8), FIELD("grpc-timeout", timeout, n)};
  nghttp2_data_provider provider = {.source.ptr = c, .read_callback = readBody};
  c->stream = nghttp2_submit_request(to->session, 0, fields, 7, &provider, c);
  if (c->stream < 0) {
    conclude(c, &lostCount);
    return;
  }
  to->inFlight++;
}

static void sendWaiting(conn *to) {
  unsigned most = nghttp2_session_get_remote_settings(to->session, NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS);
  if (most > 100000) most = 100;  // SETTINGS have not come yet
  while (to->first && to->inFlight < most && !to->lost) {
    call *c = to->first;
    to->first = c->next;
    if (!to->first) to->last = 0;
    if (!c->over) sendCall(to, c);
  }
}

static int onHeader(nghttp2_session *s, const nghttp2_frame *f, const uint8_t *name, size_t nl, const uint8_t *value, size_t vl, uint8_t flags, void *user) {
  call *c = nghttp2_session_get_stream_user_data(s, f->hd.stream_id);
  if (!c) return 0;
  if (nl == 7 && !memcmp(name, ":status", 7)) c->status = atoi((const char *)value);
  else if (nl == 11 && !memcmp(name, "grpc-status", 11)) c->grpc = atoi((const char *)value);
  return 0;
}

static int onStreamClose(nghttp2_session *s, int32_t id, uint32_t code, void *user) {
  conn *to = user;
  call *c = nghttp2_session_get_stream_user_data(s, id);
  to->inFlight--;
  if (!c || c->over) return 0;
  double took = now() - c->bornAt;
  if (c->counted && c->grpc >= 0 && c->grpc < 32) statusCounts[c->grpc]++;
  if (c->status != 200 || c->grpc < 0) conclude(c, &otherCount);
  else if (c->grpc == 8) conclude(c, &shedCount);
  else if (c->grpc == 4 || took > deadlineUs) conclude(c, &lateCount);
  else if (c->grpc != 0) conclude(c, &otherCount);
  else {
    if (c->counted && okCount < latencyCapacity) latencies[okCount] = (unsigned)took;
    conclude(c, &okCount);
  }
  return 0;
}

static void interest(conn *to, int write) {
  if (to->wantsWrite == write) return;
  to->wantsWrite = write;
  struct epoll_event e = {EPOLLIN | (write ? EPOLLOUT : 0), {.ptr = to}};
  epoll_ctl(epollFd, EPOLL_CTL_MOD, to->fd, &e);
}

static int flush(conn *to) {
  for (;;) {
    while (to->length - to->offset < 65536) {
      const uint8_t *bytes;
      ssize_t n = nghttp2_session_mem_send(to->session, &bytes);
      if (n < 0) return -1;
      if (n == 0) break;
      if (to->length + n > to->capacity) {
        to->capacity = (to->length + n) * 2 + 65536;
        to->out = realloc(to->out, to->capacity);
      }
      memcpy(to->out + to->length, bytes, n);
      to->length += n;
    }
    if (to->offset == to->length) {
      to->offset = to->length = 0;
      interest(to, 0);
      return 0;
    }
    size_t n = to->length - to->offset;
    ssize_t written;
    if (to->ssl) {
      written = SSL_write(to->ssl, to->out + to->offset, n > 16384 ? 16384 : n);
      if (written <= 0) {
        int error = SSL_get_error(to->ssl, written);
        if (error != SSL_ERROR_WANT_READ && error != SSL_ERROR_WANT_WRITE) return -1;
        interest(to, 1);
        return 0;
      }
    } else {
      written = send(to->fd, to->out + to->offset, n, MSG_NOSIGNAL);
      if (written < 0) {
        if (errno != EAGAIN) return -1;
        interest(to, 1);
        return 0;
      }
    }
    to->offset += written;
    if (to->offset == to->length) to->offset = to->length = 0;
  }
}

static uint8_t input[262144];

static int receive(conn *to) {
  for (;;) {
    ssize_t n;
    if (to->ssl) {
      n = SSL_read(to->ssl, input, sizeof input);
      if (n <= 0) return SSL_get_error(to->ssl, n) == SSL_ERROR_WANT_READ ? 0 : -1;
    } else {
      n = recv(to->fd, input, sizeof input, 0);
      if (n == 0) return -1;
      if (n < 0) return errno == EAGAIN ? 0 : -1;
    }
    if (nghttp2_session_mem_recv(to->session, input, n) < 0) return -1;
    if (!to->ssl && n < (ssize_t)sizeof input) return 0;
  }
}

static void lose(conn *to) {
  if (to->lost) return;
  to->lost = 1;
  lostConnections++;
  epoll_ctl(epollFd, EPOLL_CTL_DEL, to->fd, 0);
}

static int compare(const void *a, const void *b) {
  unsigned x = *(const unsigned *)a, y = *(const unsigned *)b;
  return x < y ? -1 : x > y;
}

static void expire(double at) {
  while (dueFirst && dueFirst->bornAt + deadlineUs <= at) {
    call *c = dueFirst;
    dueFirst = c->nextDue;
    if (!dueFirst) dueLast = 0;
    if (c->over) continue;
    if (c->conn->lost) conclude(c, &lostCount);
    else if (c->stream == 0) conclude(c, &unsentCount);
    else {
      nghttp2_submit_rst_stream(c->conn->session, 0, c->stream, NGHTTP2_CANCEL);
      conclude(c, &lateCount);
    }
  }
}

int main(int argc, char **argv) {
  if (argc < 8) return 1;
  int port = atoi(argv[1]), connections = atoi(argv[5]);
  double rate = atof(argv[2]), seconds = atof(argv[3]), warmup = atof(argv[4]);
  deadlineUs = atof(argv[6]) * 1e3;
  FILE *file = fopen(argv[7], "rb");
  body = malloc(1 << 20);
  bodyLength = fread(body, 1, 1 << 20, file);
  latencyCapacity = (long)(rate * (seconds + 1));
  latencies = malloc(latencyCapacity * sizeof *latencies);
  SSL_CTX *context = 0;
  if (argc > 8) {
    context = SSL_CTX_new(TLS_client_method());
    SSL_CTX_set_mode(context, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
    SSL_CTX_use_certificate_chain_file(context, argv[9]);
    SSL_CTX_use_PrivateKey_file(context, argv[10], SSL_FILETYPE_PEM);
    SSL_CTX_set_alpn_protos(context, (const unsigned char *)"\x02h2", 3);
  }
  nghttp2_session_callbacks *callbacks;
  nghttp2_session_callbacks_new(&callbacks);
  nghttp2_session_callbacks_set_on_header_callback(callbacks, onHeader);
  nghttp2_session_callbacks_set_on_stream_close_callback(callbacks, onStreamClose);
  epollFd = epoll_create1(0);
  conn *all = calloc(connections, sizeof *all);
  int one = 1;
  for (int i = 0; i < connections; i++) {
    conn *to = all + i;
    to->fd = socket(AF_INET, SOCK_STREAM, 0);
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(port)};
    inet_pton(AF_INET, "127.0.0.1", &address.sin_addr);
    if (connect(to->fd, (void *)&address, sizeof address)) {
      perror("connect");
      return 1;
    }
    setsockopt(to->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    if (context) {
      to->ssl = SSL_new(context);
      SSL_set_fd(to->ssl, to->fd);
      SSL_set_tlsext_host_name(to->ssl, "backend.mesh");
      if (SSL_connect(to->ssl) != 1) {
        fprintf(stderr, "no TLS handshake\n");
        return 1;
      }
    }
    fcntl(to->fd, F_SETFL, O_NONBLOCK);
    nghttp2_session_client_new(&to->session, callbacks, to);
    nghttp2_settings_entry settings[] = {{NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, 1 << 20}};
    nghttp2_submit_settings(to->session, 0, settings, 1);
    nghttp2_session_set_local_window_size(to->session, 0, 0, 1 << 24);
    struct epoll_event e = {EPOLLIN, {.ptr = to}};
    epoll_ctl(epollFd, EPOLL_CTL_ADD, to->fd, &e);
    if (flush(to) < 0) return 1;
  }

  double startedAt = now(), endsAt = startedAt + (seconds + warmup) * 1e6, interval = 1e6 / rate, nextAt = startedAt, behindUs = 0;
  long turn = 0;
  for (;;) {
    double at = now();
    if (at > endsAt + deadlineUs + 2e5) break;
    for (; nextAt <= at && nextAt < endsAt; nextAt += interval) {
      conn *to = 0;
      for (int tries = 0; tries < connections; tries++) {
        to = all + turn++ % connections;
        if (!to->lost) break;
      }
      // Born when it was due, not when this program came round to it.
      call *c = calloc(1, sizeof *c);
      c->conn = to;
      c->grpc = -1;
      c->bornAt = nextAt;
      c->counted = nextAt >= startedAt + warmup * 1e6;
      if (c->counted) offered++;
      if (at - nextAt > behindUs) behindUs = at - nextAt;
      if (to->last) to->last->next = c;
      else to->first = c;
      to->last = c;
      if (dueLast) dueLast->nextDue = c;
      else dueFirst = c;
      dueLast = c;
    }
    expire(at);
    for (int i = 0; i < connections; i++) {
      if (all[i].lost) continue;
      sendWaiting(all + i);
      if (flush(all + i) < 0) lose(all + i);
    }
    struct epoll_event events[256];
    int n = epoll_wait(epollFd, events, 256, 1);
    for (int i = 0; i < n; i++) {
      conn *to = events[i].data.ptr;
      if (!to->lost && receive(to) < 0) lose(to);
    }
  }
  qsort(latencies, okCount < latencyCapacity ? okCount : latencyCapacity, sizeof *latencies, compare);
  printf("{\"offered\":%ld,\"ok\":%ld,\"late\":%ld,\"unsent\":%ld,\"shed\":%ld,\"other\":%ld,\"lost\":%ld,\"lostConnections\":%d,\"behindMs\":%.0f,\"p50\":%u,\"p99\":%u,\"statuses\":{", offered,
         okCount, lateCount, unsentCount, shedCount, otherCount, lostCount, lostConnections, behindUs / 1e3, okCount ? latencies[okCount / 2] : 0, okCount ? latencies[(long)(okCount * .99)] : 0);
  for (int i = 0, some = 0; i < 32; i++)
    if (statusCounts[i]) printf("%s\"%d\":%ld", some++ ? "," : "", i, statusCounts[i]);
  printf("}}\n");
  return 0;
}
