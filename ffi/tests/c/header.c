/* The header alone: it compiles first and twice, as every C from C99 and as C++, and its structures
 * have no hidden holes, so that every byte is written. */
#include <shoal.h>
#include <shoal.h>

#define HOLDS(name, condition) typedef char name[(condition) ? 1 : -1]
#define END(type, field) (offsetof(type, field) + sizeof(((type *)0)->field))

HOLDS(status_is_32_bits, sizeof(shoal_status) == 4);
HOLDS(address_is_24_bytes, sizeof(shoal_address) == 24);
HOLDS(address_is_full, END(shoal_address, reserved) == sizeof(shoal_address));
HOLDS(rtt_is_24_bytes, sizeof(shoal_rtt) == 24);
HOLDS(coordinate_is_88_bytes, sizeof(shoal_coordinate) == 88);
HOLDS(coordinate_snapshot_is_full,
      END(shoal_coordinate_snapshot, reserved) == sizeof(shoal_coordinate_snapshot));
HOLDS(member_is_256_bytes, sizeof(shoal_member) == 256);
HOLDS(member_is_full, END(shoal_member, reserved) == sizeof(shoal_member));
HOLDS(event_is_1280_bytes, sizeof(shoal_event) == 1280);
HOLDS(event_is_full, END(shoal_event, payload) == sizeof(shoal_event));
HOLDS(counter_is_56_bytes, sizeof(shoal_counter) == 56);
HOLDS(config_begins_with_its_size, offsetof(shoal_config, struct_size) == 0);
HOLDS(config_is_full, END(shoal_config, has_external_leader) == sizeof(shoal_config));
HOLDS(router_config_is_full,
      END(shoal_router_config, primary_count_max) == sizeof(shoal_router_config));
HOLDS(timeouts_config_is_full,
      END(shoal_timeouts_config, reserved) == sizeof(shoal_timeouts_config));
HOLDS(candidate_is_128_bytes, sizeof(shoal_candidate) == 128);
HOLDS(candidate_is_full, END(shoal_candidate, reserved) == sizeof(shoal_candidate));
HOLDS(manager_is_96_bytes, sizeof(shoal_manager_candidate) == 96);
HOLDS(decision_is_64_bytes, sizeof(shoal_decision) == 64);
HOLDS(ranked_is_64_bytes, sizeof(shoal_ranked) == 64);
HOLDS(excluded_is_8_bytes, sizeof(shoal_excluded) == 8);
HOLDS(job_start_is_96_bytes, sizeof(shoal_job_start) == 96);
HOLDS(job_start_is_full, END(shoal_job_start, reserved) == sizeof(shoal_job_start));
HOLDS(snapshot_is_144_bytes, sizeof(shoal_job_snapshot) == 144);
HOLDS(snapshot_is_full, END(shoal_job_snapshot, reserved) == sizeof(shoal_job_snapshot));
HOLDS(extension_request_is_24_bytes, sizeof(shoal_extension_request) == 24);
HOLDS(extension_grant_is_24_bytes, sizeof(shoal_extension_grant) == 24);
HOLDS(target_is_56_bytes, sizeof(shoal_datacenter_target) == 56);
HOLDS(gate_snapshot_is_64_bytes, sizeof(shoal_gate_job_snapshot) == 64);
HOLDS(gate_snapshot_is_full,
      END(shoal_gate_job_snapshot, reserved) == sizeof(shoal_gate_job_snapshot));
HOLDS(site_snapshot_is_112_bytes, sizeof(shoal_datacenter_snapshot) == 112);
HOLDS(site_snapshot_is_full,
      END(shoal_datacenter_snapshot, reserved) == sizeof(shoal_datacenter_snapshot));
HOLDS(status_of_a_job_is_16_bytes, sizeof(shoal_job_status) == 16);
HOLDS(codes_are_negative, SHOAL_PANIC < 0 && SHOAL_TOO_MANY_SUSPICIONS < 0);
HOLDS(success_is_zero, SHOAL_OK == 0 && SHOAL_NONE > 0);

#if SHOAL_VERSION_MAJOR < 0 || SHOAL_VERSION_MINOR < 0 || SHOAL_VERSION_PATCH < 0
#error "the version is no number"
#endif

int header_compiles(void);
int header_compiles(void) {
  shoal_config config;
  return shoal_config_init(&config) == SHOAL_OK ? SHOAL_ABI_VERSION : 0;
}
