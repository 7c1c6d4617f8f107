/* Runs a node, prints every event, and ends when it knows enough members.
 *
 *   ./members BIND SECRET [COUNT [SEED]...]
 *   ./members 127.0.0.1:0 'a secret of the cluster' 3 127.0.0.1:7946
 *
 * The node has its own socket and thread. This program only waits on its event descriptor, as it
 * would wait on any other: put it into the loop you have. Without COUNT it runs until it is
 * interrupted. */
#include <shoal.h>

#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { MEMBERS_MAX = 1000, TIMEOUT_SECONDS = 60, LEAVE_SECONDS = 5 };

static volatile sig_atomic_t interrupted;

static void interrupt(int signal_number) {
  (void)signal_number;
  interrupted = 1;
}

static void fail(const char *what, shoal_status status, const char *detail) {
  fprintf(stderr, "%s: %s\n", what, detail[0] != '\0' ? detail : shoal_status_text(status));
  exit(1);
}

static shoal_address parse(const char *text) {
  shoal_address address;
  shoal_status status = shoal_address_parse(text, &address);
  if (status != SHOAL_OK) fail(text, status, "");
  return address;
}

static const char *text_of(const shoal_address *address) {
  static char text[SHOAL_ADDRESS_TEXT_SIZE];
  shoal_address_format(address, text, sizeof text);
  return text;
}

static shoal_node *start(const char *bind, const char *secret_text) {
  shoal_secret secret = {(const uint8_t *)secret_text, strlen(secret_text)};
  char detail[SHOAL_DETAIL_SIZE] = "";
  shoal_config config;
  shoal_node *node = NULL;
  shoal_status status;

  shoal_config_init(&config);
  config.bind = parse(bind);
  config.secrets = &secret;
  config.secret_count = 1;
  config.role = SHOAL_ROLE_WORKER;
  status = shoal_node_start(&config, &node, detail, sizeof detail);
  if (status != SHOAL_OK) fail("cannot start", status, detail);
  return node;
}

static void join(const shoal_node *node, char *const *texts, int count) {
  char detail[SHOAL_DETAIL_SIZE] = "";
  shoal_address seeds[SHOAL_SEED_COUNT_MAX];
  shoal_status status;
  if (count == 0) return;
  if (count > SHOAL_SEED_COUNT_MAX) fail("cannot join", SHOAL_TOO_MANY_SEEDS, "");
  for (int index = 0; index < count; index++) seeds[index] = parse(texts[index]);
  status = shoal_node_join(node, seeds, (size_t)count);
  if (status != SHOAL_OK) {
    shoal_node_error(node, detail, sizeof detail);
    fail("cannot join", status, detail);
  }
}

static void print_event(const shoal_event *event) {
  switch (event->kind) {
    case SHOAL_EVENT_MEMBER:
      printf("%s is %s (%s in %s)\n", text_of(&event->address), shoal_state_name(event->state),
             shoal_role_name(event->role), event->datacenter);
      break;
    case SHOAL_EVENT_JOINED:
      printf("joined through %s\n", text_of(&event->address));
      break;
    case SHOAL_EVENT_JOIN_DELAYED:
      printf("no seed has answered in %u attempts\n", (unsigned)event->attempts);
      break;
    case SHOAL_EVENT_LEFT:
      printf("left\n");
      break;
    default: /* Later versions have more kinds. */
      break;
  }
}

/* Prints all members, and says how many of them are alive. */
static size_t print_members(const shoal_node *node, int is_quiet) {
  static shoal_member members[MEMBERS_MAX];
  size_t count = 0, alive = 0;
  shoal_node_members(node, members, MEMBERS_MAX, &count);
  for (size_t index = 0; index < count && index < MEMBERS_MAX; index++) {
    const shoal_member *member = &members[index];
    alive += member->state == SHOAL_STATE_ALIVE;
    if (is_quiet) continue;
    printf("%-24s %-12s %-8s %-12s", text_of(&member->address), shoal_state_name(member->state),
           shoal_role_name(member->role), member->datacenter);
    if (member->has_rtt)
      printf(" %.2f ms, rarely above %.2f", member->rtt.ms, member->rtt.upper_ms);
    printf("\n");
  }
  return alive;
}

/* Takes and prints what there is. Returns 1 when the goodbye has been said. */
static int take_events(const shoal_node *node) {
  shoal_event event;
  int has_left = 0;
  while (shoal_node_poll_event(node, &event) == SHOAL_OK) {
    print_event(&event);
    has_left |= event.kind == SHOAL_EVENT_LEFT;
  }
  return has_left;
}

int main(int argc, char **argv) {
  struct pollfd descriptor;
  shoal_node *node;
  shoal_address own;
  size_t wanted;
  time_t end;

  if (argc < 3) {
    fprintf(stderr, "usage: %s BIND SECRET [COUNT [SEED]...]\n", argv[0]);
    return 2;
  }
  /* A line is written when it is complete, into a pipe too. */
  setvbuf(stdout, NULL, _IOLBF, 0);
  signal(SIGINT, interrupt);
  signal(SIGTERM, interrupt);
  wanted = argc > 3 ? strtoul(argv[3], NULL, 10) : 0;
  node = start(argv[1], argv[2]);
  shoal_node_address(node, &own);
  printf("started at %s with %s, Shoal %s\n", text_of(&own), shoal_node_backend(node),
         shoal_version_string());
  join(node, argv + 4, argc > 4 ? argc - 4 : 0);

  /* The loop: take what there is, then wait until there is more. */
  descriptor.fd = shoal_node_event_fd(node);
  descriptor.events = POLLIN;
  end = time(NULL) + TIMEOUT_SECONDS;
  while (!interrupted && (wanted == 0 || time(NULL) < end)) {
    take_events(node);
    if (wanted != 0 && print_members(node, 1) >= wanted) break;
    poll(&descriptor, 1, 1000);
  }
  int is_complete = print_members(node, 0) >= wanted;

  /* Say goodbye, so that nobody takes this node for dead. */
  end = time(NULL) + LEAVE_SECONDS;
  if (shoal_node_leave(node) == SHOAL_OK) {
    while (!take_events(node) && time(NULL) < end) poll(&descriptor, 1, 1000);
  }
  shoal_node_free(node);
  return is_complete ? 0 : 1;
}
