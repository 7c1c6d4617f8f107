/* A job that ends in time although the manager that leads it dies.
 *
 * A gate and two managers, three nodes in one process. The first manager leads a job and a worker
 * gets more time for it; then that manager stops without a word. What the next one needs has been
 * kept, as a program would keep it in a store or in its node's state. The second manager goes on
 * from there, and when the time and the extension are over, the gate ends the job. */
#include <shoal.h>

#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void check(shoal_status status, const char *what) {
  if (status == SHOAL_OK) return;
  fprintf(stderr, "%s: %s\n", what, shoal_status_text(status));
  exit(1);
}

static shoal_node *start_node(const char *datacenter, uint32_t role, const shoal_address *seed) {
  static const char text[] = "a secret for the example only";
  shoal_secret secret = {(const uint8_t *)text, sizeof text - 1};
  shoal_config config;
  shoal_timeouts_config jobs;
  shoal_node *node = NULL;
  char detail[SHOAL_DETAIL_SIZE];
  check(shoal_timeouts_config_init(&jobs), "defaults of jobs");
  jobs.extension_base_ms = 2000; /* The first grant is half of that. */
  check(shoal_config_init(&config), "defaults");
  check(shoal_address_parse("127.0.0.1:0", &config.bind), "address");
  config.secrets = &secret;
  config.secret_count = 1;
  config.role = (uint8_t)role;
  snprintf(config.datacenter, sizeof config.datacenter, "%s", datacenter);
  config.jobs = &jobs;
  if (shoal_node_start(&config, &node, detail, sizeof detail) != SHOAL_OK) {
    fprintf(stderr, "%s\n", detail);
    exit(1);
  }
  if (seed) check(shoal_node_join(node, seed, 1), "join");
  return node;
}

/* Waits for an event about a job, and prints it. */
static void await(const char *who, const shoal_node *node, uint32_t kind) {
  struct pollfd descriptor = {shoal_node_event_fd(node), POLLIN, 0};
  shoal_event event;
  for (;;) {
    while (shoal_node_poll_event(node, &event) == SHOAL_OK) {
      if (event.kind != kind) continue;
      printf("%s: timed out because of %s, after %.2f s\n", who,
             shoal_timeout_reason_name(event.reason), (double)event.lasted_ns / 1e9);
      return;
    }
    if (poll(&descriptor, 1, 10000) <= 0) {
      fprintf(stderr, "%s: nothing has happened for ten seconds\n", who);
      exit(1);
    }
  }
}

int main(void) {
  shoal_address gate_at, first_at;
  shoal_node *gate = start_node("hub", SHOAL_ROLE_GATE, NULL);
  check(shoal_node_address(gate, &gate_at), "address");
  shoal_node *first = start_node("east", SHOAL_ROLE_MANAGER, &gate_at);
  shoal_node *second = start_node("east", SHOAL_ROLE_MANAGER, &gate_at);
  check(shoal_node_address(first, &first_at), "address");

  /* The gate sends a job to the east, the first manager there leads it. */
  shoal_datacenter_target east;
  shoal_job_start start;
  memset(&east, 0, sizeof east);
  memset(&start, 0, sizeof start);
  snprintf(east.datacenter, sizeof east.datacenter, "east");
  east.leader = first_at;
  check(shoal_job_id_from_name((const uint8_t *)"nightly", 7, &start.job), "name");
  start.timeout_ms = 1000;
  start.gate = gate_at;
  start.datacenter_count = 1;
  check(shoal_node_gate_job_started(gate, &start.job, start.timeout_ms, &east, 1), "watch");
  check(shoal_node_job_started(first, &start), "start");

  /* A worker is busy and asks for more time. */
  shoal_worker_id worker;
  shoal_extension_request request;
  shoal_extension_grant grant;
  memset(&worker, 1, sizeof worker);
  memset(&request, 0, sizeof request);
  request.progress = 0.5;
  check(shoal_node_worker_extension(first, &start.job, &worker, &request, &grant), "extension");
  printf("first: granted %.2f s more\n", (double)grant.duration_ns / 1e9);

  /* What the next leader needs is kept; then the leader is gone. */
  shoal_job_snapshot kept;
  check(shoal_node_job_snapshot(first, &start.job, &kept), "snapshot");
  shoal_node_free(first);
  printf("first: stopped\n");
  /* It was kept for no time worth speaking of. A real program measures that. */
  check(shoal_node_job_resumed(second, &kept, 0, 0), "resume");
  printf("second: took over\n");

  await("gate", gate, SHOAL_EVENT_JOB_GLOBAL_TIMEOUT);
  await("second", second, SHOAL_EVENT_JOB_TIMED_OUT);
  shoal_node_free(second);
  shoal_node_free(gate);
  return 0;
}
