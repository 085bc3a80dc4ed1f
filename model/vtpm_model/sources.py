"""The sources that the models cite: documents at a revision, and places in them with a digest of what stands there.

The texts themselves stay where they are. A citation is named by what its lines say, in our words; `vtpmspec cite` holds
it against a source tree that the reader has. The digest is over the bytes of the cited lines, each ended by a newline.

Revisions: xen.git, mini-os.git and edk2.git by commit; Linux by release, the long-term series of the recorded guests.
"""

from __future__ import annotations

from vtpm_model.core import Citation, Document, Standing

XEN = "c447b7308b"
MINIOS = "2d3b22f842"
LINUX = "v6.1.176"
EDK2 = "c5aa7e7d94"


TPMIF_H = Document("tpmif_h", "xen", "xen/include/public/io/tpmif.h", XEN)
XENBUS_H = Document("xenbus_h", "xen", "xen/include/public/io/xenbus.h", XEN)
EVENT_CHANNEL_H = Document("event_channel_h", "xen", "xen/include/public/event_channel.h", XEN)
GRANT_TABLE_H = Document("grant_table_h", "xen", "xen/include/public/grant_table.h", XEN)
EVENT_CHANNEL_C = Document("event_channel_c", "xen", "xen/common/event_channel.c", XEN)
GRANT_TABLE_C = Document("grant_table_c", "xen", "xen/common/grant_table.c", XEN)
XENSTORE_TXT = Document("xenstore_txt", "xen", "docs/misc/xenstore.txt", XEN)
VTPM_MAN = Document("vtpm_man", "xen", "docs/man/xen-vtpm.7.pod", XEN)
XL_CFG_MAN = Document("xl_cfg_man", "xen", "docs/man/xl.cfg.5.pod.in", XEN)
LIBXL_DEVICE_C = Document("libxl_device_c", "xen", "tools/libs/light/libxl_device.c", XEN)
LIBXL_DOMAIN_C = Document("libxl_domain_c", "xen", "tools/libs/light/libxl_domain.c", XEN)
LIBXL_VTPM_C = Document("libxl_vtpm_c", "xen", "tools/libs/light/libxl_vtpm.c", XEN)
LIBXL_INTERNAL_H = Document("libxl_internal_h", "xen", "tools/libs/light/libxl_internal.h", XEN)
XL_PARSE_C = Document("xl_parse_c", "xen", "tools/xl/xl_parse.c", XEN)
VTPM_BUFSIZE_PATCH = Document("vtpm_bufsize_patch", "xen", "stubdom/vtpm-bufsize.patch", XEN)
VTPM_C = Document("vtpm_c", "xen", "stubdom/vtpm/vtpm.c", XEN)
VTPM_CMD_C = Document("vtpm_cmd_c", "xen", "stubdom/vtpm/vtpm_cmd.c", XEN)
VTPMMGR_C = Document("vtpmmgr_c", "xen", "stubdom/vtpmmgr/vtpmmgr.c", XEN)
VTPMMGR_INIT_C = Document("vtpmmgr_init_c", "xen", "stubdom/vtpmmgr/init.c", XEN)
VTPMMGR_CMD_C = Document("vtpmmgr_cmd_c", "xen", "stubdom/vtpmmgr/vtpm_cmd_handler.c", XEN)
VTPMMGR_TCG_H = Document("vtpmmgr_tcg_h", "xen", "stubdom/vtpmmgr/tcg.h", XEN)

TPMBACK_H = Document("tpmback_h", "mini-os", "include/tpmback.h", MINIOS)
TPMBACK_C = Document("tpmback_c", "mini-os", "tpmback.c", MINIOS)
TPMFRONT_C = Document("tpmfront_c", "mini-os", "tpmfront.c", MINIOS)
MINIOS_XENBUS_C = Document("minios_xenbus_c", "mini-os", "xenbus.c", MINIOS)
MINIOS_GNTMAP_C = Document("minios_gntmap_c", "mini-os", "gntmap.c", MINIOS)
MINIOS_GNTTAB_C = Document("minios_gnttab_c", "mini-os", "gnttab.c", MINIOS)
MINIOS_TPM_TIS_C = Document("minios_tpm_tis_c", "mini-os", "tpm_tis.c", MINIOS)
MINIOS_X86_OS_H = Document("minios_x86_os_h", "mini-os", "include/x86/os.h", MINIOS)
MINIOS_ARM_OS_H = Document("minios_arm_os_h", "mini-os", "include/arm/os.h", MINIOS)

LINUX_TPMIF_H = Document("linux_tpmif_h", "linux", "include/xen/interface/io/tpmif.h", LINUX)
XEN_TPMFRONT_C = Document("xen_tpmfront_c", "linux", "drivers/char/tpm/xen-tpmfront.c", LINUX)
TPM_INTERFACE_C = Document("tpm_interface_c", "linux", "drivers/char/tpm/tpm-interface.c", LINUX)
TPM_SYSFS_C = Document("tpm_sysfs_c", "linux", "drivers/char/tpm/tpm-sysfs.c", LINUX)
XENBUS_CLIENT_C = Document("xenbus_client_c", "linux", "drivers/xen/xenbus/xenbus_client.c", LINUX)
XENBUS_PROBE_C = Document("xenbus_probe_c", "linux", "drivers/xen/xenbus/xenbus_probe.c", LINUX)
XENBUS_PROBE_FRONTEND_C = Document(
    "xenbus_probe_frontend_c", "linux", "drivers/xen/xenbus/xenbus_probe_frontend.c", LINUX
)
LINUX_GRANT_TABLE_C = Document("linux_grant_table_c", "linux", "drivers/xen/grant-table.c", LINUX)

TPM_TIS_H = Document("tpm_tis_h", "edk2", "MdePkg/Include/IndustryStandard/TpmTis.h", EDK2)
TPM_PTP_H = Document("tpm_ptp_h", "edk2", "MdePkg/Include/IndustryStandard/TpmPtp.h", EDK2)
EDK2_TPM2_TIS_C = Document("edk2_tpm2_tis_c", "edk2", "SecurityPkg/Library/Tpm2DeviceLibDTpm/Tpm2Tis.c", EDK2)


# ------------------------------------------------------------------------------------------ the published protocol

# tpmif.h: the ring.
TPMIF_V1_REQUEST = Citation(TPMIF_H, 22, 28, "8ce519faab9a31b0")
TPMIF_PURPOSE = Citation(TPMIF_H, 55, 58, "52f75c5d77ccb2f5")
TPMIF_REQUEST_AND_RESPONSE = Citation(TPMIF_H, 60, 63, "e739cf79e839589b")
TPMIF_CANCEL = Citation(TPMIF_H, 65, 71, "d8de0b854e1fe434")
TPMIF_STATES = Citation(TPMIF_H, 77, 82, "8980109601f042d7")
TPMIF_WRITERS = Citation(TPMIF_H, 83, 86, "1196384cab2d4820")

# tpmif.h: the page. The diagram and the structure below it contradict each other.
TPMIF_DIAGRAM = Citation(
    TPMIF_H,
    89,
    96,
    "a22b452729dd8122",
    Standing.DISPUTED,
    "says that the header is 16 bytes; its own structure and every implementation have 8",
)
TPMIF_EXTRA_PAGES = Citation(
    TPMIF_H,
    97,
    103,
    "032f96c340b6697b",
    Standing.DISPUTED,
    "no implementation maps the extra pages; only their count is used, to place the data",
)
TPMIF_SHARED_PAGE = Citation(TPMIF_H, 104, 114, "90a4332430a5a17e")

# xenbus.h: the states of both ends.
XENBUS_STATES = Citation(XENBUS_H, 19, 50, "ab7b689e19a1b939")

# Linux' copy of tpmif.h: no diagram, but the order of opening and closing.
LINUX_TPMIF_OPEN = Citation(LINUX_TPMIF_H, 16, 23, "44432b085e0e8866")
LINUX_TPMIF_CLOSE = Citation(LINUX_TPMIF_H, 25, 28, "91661e1422ee3bfb")
LINUX_TPMIF_STATES = Citation(LINUX_TPMIF_H, 31, 38, "bf27fbea89650ef4")
LINUX_TPMIF_SHARED_PAGE = Citation(LINUX_TPMIF_H, 41, 50, "f466739b2eaabe19")


# -------------------------------------------------------------------------------- Xen: events, grants and xenstore

# Event channels.
EVENTS_ARE_ONE_BIT = Citation(EVENT_CHANNEL_H, 18, 27, "1ca6c71dc78ef96a")
BIND_RAISES_THE_EVENT = Citation(EVENT_CHANNEL_H, 84, 99, "91e5a208fc49e872")
BIND_NEEDS_A_RESERVED_PORT = Citation(EVENT_CHANNEL_C, 430, 436, "01e88ccaedb2ccea")
BIND_SETS_PENDING = Citation(EVENT_CHANNEL_C, 453, 457, "07032cb7d487043d")
CLOSE_LEAVES_THE_PEER_UNBOUND = Citation(EVENT_CHANNEL_C, 810, 824, "d4c5db3c14656f6d")
SEND_SETS_PENDING = Citation(EVENT_CHANNEL_C, 871, 888, "e0793b60ccf0caed")
SEND_TO_UNBOUND_IS_DROPPED = Citation(EVENT_CHANNEL_C, 892, 894, "c371849409d51bba")

# Grants.
GRANT_IS_WITHDRAWN_ONLY_UNUSED = Citation(GRANT_TABLE_H, 60, 70, "37cd56f366d66548")
X86_KEEPS_STORES_IN_ORDER = Citation(GRANT_TABLE_H, 48, 49, "b0e392333bbc59b8")
GRANT_NAMES_ONE_DOMAIN = Citation(GRANT_TABLE_H, 115, 130, "88bba680608a2c86")
GRANT_MAP_TAKES_THE_GRANTER = Citation(GRANT_TABLE_C, 1046, 1051, "368217133da33cb4")
GRANT_MAP_CHECKS_THE_GRANTEE = Citation(GRANT_TABLE_C, 782, 791, "c357c4a30197e0ca")

# Xenstore.
WATCH_FIRES_ON_CHANGE = Citation(XENSTORE_TXT, 257, 262, "833825cda3b74f65")
WATCH_FIRES_AT_ONCE_AND_SPURIOUSLY = Citation(XENSTORE_TXT, 291, 293, "1b63a930a32c0536")
WATCH_AND_PERMISSIONS = Citation(XENSTORE_TXT, 295, 304, "1c6f093c2812cbe9")
WATCH_EVENT_OF_A_REMOVED_PARENT = Citation(XENSTORE_TXT, 310, 318, "29e3fb8227247c78")
TRANSACTION_COMMITS_WHOLE_OR_NOT = Citation(XENSTORE_TXT, 335, 346, "a2608cf7fcf950e9")


# ------------------------------------------------------------------------------------------------- Xen: the toolstack

# Creation.
LIBXL_PERMISSIONS = Citation(LIBXL_DEVICE_C, 169, 177, "23d4af7c05ccd7a1")
LIBXL_FRONTEND_NODES = Citation(LIBXL_DEVICE_C, 203, 236, "f0842a8123347764")
LIBXL_BACKEND_NODES = Citation(LIBXL_DEVICE_C, 238, 252, "e6f751ada1153f0e")
LIBXL_ADDS_IN_ONE_TRANSACTION = Citation(LIBXL_DEVICE_C, 281, 292, "67e340c529d44904")
LIBXL_VTPM_NODES = Citation(LIBXL_VTPM_C, 38, 52, "65e132116acb0b6a")
LIBXL_VTPM_UUID_DEFAULT = Citation(LIBXL_VTPM_C, 23, 28, "32b5a0be2caf5a26")
LIBXL_WAITS_FOR_INIT_WAIT = Citation(LIBXL_DEVICE_C, 998, 1005, "a8b4d57a0b1b8a06")
LIBXL_TIMEOUTS = Citation(LIBXL_INTERNAL_H, 94, 95, "9e23054fe826ac46")

# Removal.
LIBXL_FORCED_REMOVAL_DELETES_THE_FRONTEND = Citation(LIBXL_DEVICE_C, 1067, 1069, "0b246612ec07866c")
LIBXL_FINDS_THE_BACKEND_GONE = Citation(LIBXL_DEVICE_C, 1077, 1082, "cecd05c5bcb4ae8d")
LIBXL_ASKS_TO_CLOSE = Citation(LIBXL_DEVICE_C, 1084, 1098, "9e94f4196e1d8e9d")
LIBXL_WAITS_FOR_CLOSED = Citation(LIBXL_DEVICE_C, 1105, 1112, "4969823b459745cd")
LIBXL_FORCES_AFTER_TIMEOUT = Citation(LIBXL_DEVICE_C, 1184, 1191, "6b6f1e18f5758447")
LIBXL_REMOVES_THE_TREE_OF_A_DOMAIN = Citation(LIBXL_DOMAIN_C, 1539, 1540, "c5260ee41a90cd50")
LIBXL_DESTROYS_A_DOMAIN_LAST = Citation(LIBXL_DOMAIN_C, 1578, 1578, "ec45478b1c6901c4")

# Configuration.
XL_CFG_VTPM = Citation(XL_CFG_MAN, 796, 820, "6ca2aba8959e7736")
XL_PARSE_VTPM = Citation(XL_PARSE_C, 2404, 2446, "b98a6320802ea4e1")
VTPM_ATTACHED_LATE = Citation(VTPM_MAN, 234, 240, "51ab90619af2be83")


# ---------------------------------------------------------------------------------------------- Xen: the stub domains

# The vTPM.
VTPM_COMMAND_BUFFER_SIZE = Citation(VTPM_BUFSIZE_PATCH, 9, 10, "27c6eaf83d2e4da8")
VTPM_LOCALITY_MASK = Citation(VTPM_C, 185, 204, "46b92d09a24502e3")
VTPM_MAIN_LOOP = Citation(VTPM_C, 227, 269, "c09042de0ec3e051")
VTPM_SKIPS_AN_EMPTY_REQUEST = Citation(VTPM_C, 230, 235, "2c95c3653d7a2f08")
VTPM_CHECKS_THE_LOCALITY = Citation(VTPM_C, 237, 246, "5274023cf0c92c73")
VTPM_STARTS_THE_EMULATOR_ONCE = Citation(VTPM_C, 219, 219, "bd0c4fd7ed4404f4")
VTPM_ENDS_ON_NO_REQUEST = Citation(VTPM_C, 266, 274, "1d0fd9b32d4d5300")
VTPM_PASSES_TO_THE_MANAGER = Citation(VTPM_C, 121, 153, "8d4d9124d03fda3d")
VTPM_ERROR_RESPONSE = Citation(VTPM_CMD_C, 66, 93, "543a9e3a3c1328ba")

# The manager.
VTPMMGR_MAIN_LOOP = Citation(VTPMMGR_C, 80, 100, "d36c2e4f2c251571")
VTPMMGR_SPINS_ON_NO_REQUEST = Citation(VTPMMGR_C, 87, 90, "01c5c636059c3545")
VTPMMGR_BUFFER_SIZE = Citation(VTPMMGR_TCG_H, 50, 50, "420c3854c9d4dbf1")
VTPMMGR_OPAQUE_POINTS_INTO_THE_CONNECTION = Citation(VTPMMGR_INIT_C, 390, 407, "eb5ff6d8b4f6b020")
VTPMMGR_LISTS_MORE_THAN_A_PAGE = Citation(VTPMMGR_CMD_C, 693, 710, "75f29fd72412d3ae")
VTPMMGR_GETRANDOM_MAY_EXCEED_A_PAGE = Citation(VTPMMGR_CMD_C, 782, 804, "3049e1545c9ac064")
VTPMMGR_REFUSES_A_SHORT_REQUEST = Citation(VTPMMGR_CMD_C, 843, 847, "909e77d55aa8e166")
VTPMMGR_ERROR_RESPONSE = Citation(VTPMMGR_CMD_C, 942, 947, "e6043c1cfe1fed34")


# --------------------------------------------------------------------------------------------- mini-os: the backend

# The record of a frontend.
TPMBACK_RECORD = Citation(TPMBACK_C, 74, 96, "8e07c5b72adde570")
TPMBACK_READY_FLAG = Citation(TPMBACK_C, 139, 162, "81f123fdd1483ced")
TPMBACK_LIST_GROWS_BY_COUNT = Citation(TPMBACK_C, 264, 267, "015c2f74d27e56cb")
TPMBACK_FEATURE_AFTER_STATE = Citation(TPMBACK_C, 297, 305, "59aac207771721ed")
TPMBACK_WATCHES_THE_FRONTEND = Citation(TPMBACK_C, 307, 315, "3b7955f768df6654")
TPMBACK_CHANGE_STATE = Citation(TPMBACK_C, 337, 376, "534cae74f48dc7ff")
TPMBACK_CHANGE_STATE_IS_NOT_ATOMIC = Citation(TPMBACK_C, 342, 372, "adf4d847e15dc6eb")
TPMBACK_NEW_DEVICE = Citation(TPMBACK_C, 417, 456, "a09ad2116a76e994")
TPMBACK_FREE_DEVICE = Citation(TPMBACK_C, 464, 515, "8c6159325b278ad8")
TPMBACK_FREE_CLEARS_FLAGS_FIRST = Citation(TPMBACK_C, 473, 475, "97bb1d0803834fb2")
TPMBACK_FREE_RACES_WITH_WAITERS = Citation(TPMBACK_C, 499, 513, "9ab11879119b1742")

# The event handler.
TPMBACK_HANDLER = Citation(TPMBACK_C, 522, 547, "138f87d28b49ceb8")
TPMBACK_SEES_SUBMIT = Citation(TPMBACK_C, 529, 533, "99ebfb858c901159")
TPMBACK_IGNORES_CANCEL_IN_SERVICE = Citation(TPMBACK_C, 535, 537, "c4fb1254cfc5e4a8")
TPMBACK_ACKNOWLEDGES_CANCEL = Citation(TPMBACK_C, 538, 542, "71d461ab6ea60615")
TPMBACK_IGNORES_SPURIOUS_EVENTS = Citation(TPMBACK_C, 543, 545, "cd2332db51ce4f55")

# The handshake.
TPMBACK_STAYS_CONNECTED = Citation(TPMBACK_C, 558, 562, "13b48a5db7a4c166")
TPMBACK_READS_THE_KEYS = Citation(TPMBACK_C, 564, 591, "0254f42fdb61a47b")
TPMBACK_CHECKS_THE_FEATURE = Citation(TPMBACK_C, 593, 605, "fb4e161a37f26752")
TPMBACK_MAPS_AND_BINDS = Citation(TPMBACK_C, 607, 619, "a5a0741ad5e8a5af")
TPMBACK_SETS_CONNECTED = Citation(TPMBACK_C, 621, 631, "1baee3724d815b68")
TPMBACK_CONNECT_FAILURE_KEEPS_STATUS = Citation(TPMBACK_C, 628, 641, "3e0b79d0aadc8f3f")
TPMBACK_DISCONNECT = Citation(TPMBACK_C, 644, 660, "67aa13e45809b8d9")
TPMBACK_FRONTEND_CHANGED = Citation(TPMBACK_C, 662, 701, "7c03c5a00b620f84")
TPMBACK_REFUSES_TO_CONNECT = Citation(TPMBACK_C, 675, 682, "c0e433bd44a7ce9b")
TPMBACK_FOLLOWS_CLOSING = Citation(TPMBACK_C, 684, 686, "3564c476bf4efd24")
TPMBACK_FOLLOWS_CLOSED = Citation(TPMBACK_C, 688, 690, "fce860e43a85115c")
TPMBACK_FREES_ON_UNKNOWN = Citation(TPMBACK_C, 692, 694, "f385be07b865feea")
TPMBACK_PARSES_EVENT_PATHS = Citation(TPMBACK_C, 705, 734, "18fc4d30bd748632")
TPMBACK_CHILD_NAME_OVERFLOWS = Citation(TPMBACK_C, 708, 728, "1a029f886b053cf9")
TPMBACK_MISSES_BACKEND_STATE = Citation(TPMBACK_C, 714, 734, "fb54d73b79dd5767")
TPMBACK_WALKS_AT_START = Citation(TPMBACK_C, 859, 864, "28f111e76a0fb039")
TPMBACK_LISTENS = Citation(TPMBACK_C, 866, 879, "278efa97a150c02b")
TPMBACK_SHUTDOWN = Citation(TPMBACK_C, 912, 930, "48915f69370e159d")

# Requests and responses.
TPMBACK_GET_REQUEST = Citation(TPMBACK_C, 945, 1004, "46a1a2186f94905d")
TPMBACK_SNAPSHOT = Citation(TPMBACK_C, 962, 965, "6894153ec7e908dc")
TPMBACK_REQUEST_BOUNDS_WRAP = Citation(TPMBACK_C, 965, 969, "6ade8277de9cd4c1")
TPMBACK_COPIES_THE_REQUEST = Citation(TPMBACK_C, 970, 977, "bef7c05b9e9fcc9c")
TPMBACK_BAD_REQUEST_STAYS_READY = Citation(TPMBACK_C, 992, 1002, "cfe7d8ba338b1094")
TPMBACK_SEND_RESPONSE = Citation(TPMBACK_C, 1006, 1046, "d5b1968a5cc027f8")
TPMBACK_LENGTH_BEFORE_CHECK = Citation(TPMBACK_C, 1017, 1024, "b432a3ba0219956f")
TPMBACK_RESPONSE_REREADS_EXTRA = Citation(TPMBACK_C, 1020, 1021, "632d4e3754ccf697")
TPMBACK_COPIES_THE_RESPONSE = Citation(TPMBACK_C, 1025, 1025, "b4ece0a6803512ae")
TPMBACK_STORES_FINISH = Citation(TPMBACK_C, 1037, 1042, "b82cf86c41a0fa55")
TPMBACK_LONG_RESPONSE_STAYS_READY = Citation(TPMBACK_C, 1021, 1045, "4dd11cee56a2484a")
TPMBACK_SERVES_BY_INDEX = Citation(TPMBACK_C, 1061, 1065, "afb9a10a937d6289")
TPMBACK_READY_WITHOUT_A_DEVICE = Citation(TPMBACK_C, 1067, 1068, "3dbec8945411a596")
TPMBACK_WAITS_FOR_A_REQUEST = Citation(TPMBACK_C, 1048, 1069, "1de87c7320bfc9ba")
TPMBACK_RESPONSE_TO_WHOM = Citation(TPMBACK_C, 1093, 1118, "e64e1e631b0c1efa")
TPMBACK_COMMAND_INTERFACE = Citation(TPMBACK_H, 44, 56, "db47e35e5963755f")


# -------------------------------------------------------------------------------------------- mini-os: the frontend
TPMFRONT_HANDLER = Citation(TPMFRONT_C, 56, 77, "476f436f86f4936e")
TPMFRONT_IGNORES_EVENTS_UNARMED = Citation(TPMFRONT_C, 56, 59, "dda30ff45231cd44")
TPMFRONT_PUBLISHES_KEYS = Citation(TPMFRONT_C, 84, 111, "736f81e4db777ad2")
TPMFRONT_WAITS_FOR_CONNECTED = Citation(TPMFRONT_C, 127, 145, "aecfb54603761412")
TPMFRONT_WAITS_FOR_CLOSED = Citation(TPMFRONT_C, 154, 171, "6d7c8cb2212b17f9")
TPMFRONT_ZEROES_THE_PAGE = Citation(TPMFRONT_C, 211, 218, "e8e467536f2d7abb")
TPMFRONT_ALLOCATES_THE_PORT = Citation(TPMFRONT_C, 221, 227, "53b40d842e40cd0c")
TPMFRONT_GOES_TO_CONNECTED = Citation(TPMFRONT_C, 234, 242, "ce7df28268cc8a06")
TPMFRONT_PUBLISHES_THE_FEATURE = Citation(TPMFRONT_C, 300, 307, "2048d986a6f55510")
TPMFRONT_CHECKS_THE_FEATURE = Citation(TPMFRONT_C, 319, 331, "f967b51510f7e66c")
TPMFRONT_SHUTDOWN = Citation(TPMFRONT_C, 352, 393, "7bb06b4a0f9c43c8")
TPMFRONT_FREES_A_MAPPED_PAGE = Citation(TPMFRONT_C, 387, 392, "a1f88a71b4d0c529")
TPMFRONT_SEND = Citation(TPMFRONT_C, 438, 461, "46f729a776b5bb82")
TPMFRONT_SEND_BOUNDS = Citation(TPMFRONT_C, 439, 443, "baf0bd548b75415d")
TPMFRONT_SUBMITS_BEFORE_ARMING = Citation(TPMFRONT_C, 444, 460, "7b78abe86bb210f0")
TPMFRONT_RECV = Citation(TPMFRONT_C, 474, 501, "c7852476612c6a3b")
TPMFRONT_WAITS_WITHOUT_END = Citation(TPMFRONT_C, 474, 475, "6a963f8bdc35c947")
TPMFRONT_RECV_BOUNDS = Citation(TPMFRONT_C, 483, 491, "87780d7efd79bb73")
TPMFRONT_SET_LOCALITY = Citation(TPMFRONT_C, 536, 542, "14e3a059704f0b46")


# ------------------------------------------------------------------------------------------- mini-os: what they use
MINIOS_EVENTS_ARE_A_STACK = Citation(MINIOS_XENBUS_C, 337, 342, "736e9ac92b39d6d4")
MINIOS_WAIT_FOR_WATCH = Citation(MINIOS_XENBUS_C, 111, 127, "c051598737782df5")
MINIOS_READ_INTEGER_UNINITIALISED = Citation(MINIOS_XENBUS_C, 903, 920, "b8885b64ce1d5ada")
MINIOS_READ_UUID = Citation(MINIOS_XENBUS_C, 923, 954, "455368df0e72d954")
MINIOS_MAP_TAKES_THE_LOWEST_ADDRESS = Citation(MINIOS_GNTMAP_C, 234, 254, "2c9cba31de333702")
MINIOS_END_ACCESS_MAY_FAIL = Citation(MINIOS_GNTTAB_C, 100, 118, "a64b1ee5df9e5269")
MINIOS_X86_BARRIERS = Citation(MINIOS_X86_OS_H, 210, 221, "a1fbc8b6b2235351")
MINIOS_ARM_BARRIERS = Citation(MINIOS_ARM_OS_H, 54, 56, "14375ed120f37495")


# ----------------------------------------------------------------------------------------------- Linux: the frontend

# The ring.
LINUX_POLLS = Citation(XEN_TPMFRONT_C, 71, 97, "70d94d350dc7d67a")
LINUX_STATUS = Citation(XEN_TPMFRONT_C, 100, 114, "dd43c0e4314de4dc")
LINUX_CANCEL = Citation(XEN_TPMFRONT_C, 121, 127, "e0b251142d28177a")
LINUX_DATA_OFFSET = Citation(XEN_TPMFRONT_C, 129, 132, "5f037d9f0b54be08")
LINUX_SEND = Citation(XEN_TPMFRONT_C, 134, 174, "7405d5e858fe793f")
LINUX_SEND_BOUNDS = Citation(XEN_TPMFRONT_C, 143, 147, "61bef0d035acf5a2")
LINUX_SEND_WAITS_FOR_IDLE = Citation(XEN_TPMFRONT_C, 149, 154, "c98dec67e7a30aac")
LINUX_SUBMITS = Citation(XEN_TPMFRONT_C, 156, 161, "cca39305bd971036")
LINUX_SEND_GIVES_UP = Citation(XEN_TPMFRONT_C, 166, 171, "3ffdc8c92a72bf9c")
LINUX_RECV = Citation(XEN_TPMFRONT_C, 176, 205, "fd7afd2d223ce033")
LINUX_READS_LENGTH_BEFORE_STATE = Citation(XEN_TPMFRONT_C, 180, 191, "fd5c5e2ddb6c64ff")
LINUX_RECV_BOUNDS = Citation(XEN_TPMFRONT_C, 193, 204, "e7b643cb9ddb7791")
LINUX_INTERRUPT = Citation(XEN_TPMFRONT_C, 217, 232, "b022dbe6f06e06be")
LINUX_TRANSMIT = Citation(TPM_INTERFACE_C, 75, 134, "bef9d5ee6bd41312")
LINUX_CHECKS_THE_REPLY_LENGTH = Citation(TPM_INTERFACE_C, 125, 131, "69ca8be073da6668")
LINUX_SYSFS_CANCEL = Citation(TPM_SYSFS_C, 256, 267, "b59602ebf0791aa0")

# The handshake.
LINUX_SETUP_RING = Citation(XEN_TPMFRONT_C, 251, 319, "1333a9369a09f52d")
LINUX_PUBLISHES_KEYS = Citation(XEN_TPMFRONT_C, 274, 307, "7ffb7971bc5943df")
LINUX_GOES_TO_INITIALISED = Citation(XEN_TPMFRONT_C, 309, 309, "78f274a5cf10da20")
LINUX_RING_FREE = Citation(XEN_TPMFRONT_C, 321, 332, "6630f95d4d26cdc6")
LINUX_PROBE = Citation(XEN_TPMFRONT_C, 346, 361, "56054e84721a18f4")
LINUX_SENDS_BEFORE_CONNECTED = Citation(XEN_TPMFRONT_C, 352, 360, "5d4352d49da26d7b")
LINUX_REMOVE = Citation(XEN_TPMFRONT_C, 363, 370, "6e5f9a38a055c964")
LINUX_RESUME = Citation(XEN_TPMFRONT_C, 372, 377, "00f6a265bd839bb7")
LINUX_BACKEND_CHANGED = Citation(XEN_TPMFRONT_C, 379, 405, "c5caac6b8b83baae")
LINUX_CHECKS_THE_FEATURE = Citation(XEN_TPMFRONT_C, 388, 394, "27d229d9bc0e235b")
LINUX_FOLLOWS_CLOSING = Citation(XEN_TPMFRONT_C, 397, 401, "5c531f528c97de1a")

# The bus.
XENBUS_SWITCH_STATE = Citation(XENBUS_CLIENT_C, 222, 254, "72b9022532ba0547")
XENBUS_SETUP_RING_ZEROES = Citation(XENBUS_CLIENT_C, 379, 416, "d078c05142af1bca")
XENBUS_SETUP_RING_SHARES_4_KIB = Citation(XENBUS_CLIENT_C, 382, 388, "3f1daf4a5e6f9bd9")
XENBUS_READ_STATE = Citation(XENBUS_CLIENT_C, 925, 933, "e22774b890f137a4")
XENBUS_WATCHES_AFTER_PROBE = Citation(XENBUS_PROBE_C, 306, 317, "540227c0da75de6e")
XENBUS_OTHEREND_CHANGED = Citation(XENBUS_PROBE_C, 194, 210, "4082eb33b4018c2d")
XENBUS_DEV_REMOVE = Citation(XENBUS_PROBE_C, 339, 369, "6ac720237a363ab5")
XENBUS_IGNORES_A_DEVICE_THAT_IS_NOT_NEW = Citation(XENBUS_PROBE_C, 517, 523, "76460c1d16663a46")
XENBUS_DEVICE_VANISHES = Citation(XENBUS_PROBE_C, 643, 647, "f7964da3ee27ddeb")
XENBUS_DEV_RESUME = Citation(XENBUS_PROBE_C, 703, 723, "ebc8b411e1255c13")
XENBUS_FRONTEND_SHUTDOWN = Citation(XENBUS_PROBE_FRONTEND_C, 128, 148, "8c2c017315a88afc")
XENBUS_RESET_FRONTEND = Citation(XENBUS_PROBE_FRONTEND_C, 389, 404, "28d4500cdabda227")
XENBUS_RESETS_CONNECTED_AND_CLOSED = Citation(XENBUS_PROBE_FRONTEND_C, 424, 434, "b16cbb65a517ff36")

# Grants.
LINUX_END_ACCESS = Citation(LINUX_GRANT_TABLE_C, 428, 442, "6d0128c7fae4a024")
LINUX_DEFERS_A_MAPPED_PAGE = Citation(LINUX_GRANT_TABLE_C, 605, 612, "cf215980d9df7f45")


# ------------------------------------------------------------------------------- the TPM's registers and their drivers

# Registers.
TIS_REGISTERS = Citation(TPM_TIS_H, 17, 90, "42de5fbf39a20679")
TIS_BURST_COUNT = Citation(TPM_TIS_H, 47, 50, "60eff7652192dc63")
TIS_FIFO = Citation(TPM_TIS_H, 52, 55, "862b6d6fc022c295")
TIS_REG_VALID = Citation(TPM_TIS_H, 106, 109, "67f58d632e7b8d14")
TIS_ACTIVE_LOCALITY = Citation(TPM_TIS_H, 110, 113, "48428d8aeb53f9e4")
TIS_BEEN_SEIZED = Citation(TPM_TIS_H, 114, 118, "afb89f7afed972ed")
TIS_SEIZE = Citation(TPM_TIS_H, 119, 124, "8e8e75ea3dce1736")
TIS_PENDING_REQUEST = Citation(TPM_TIS_H, 125, 128, "f5ef790e8bd2ccfb")
TIS_REQUEST_USE = Citation(TPM_TIS_H, 129, 132, "cb2adcc756867129")
TIS_ESTABLISHMENT = Citation(TPM_TIS_H, 133, 136, "0f89bd9e7cb1c72e")
TIS_STS_VALID = Citation(TPM_TIS_H, 142, 145, "187c9a6d926a8fdf")
TIS_COMMAND_READY = Citation(TPM_TIS_H, 146, 150, "ca1305cba37f5465")
TIS_GO = Citation(TPM_TIS_H, 151, 154, "5bcb6c55d0548625")
TIS_DATA_AVAIL = Citation(TPM_TIS_H, 155, 158, "34455b42bfa735a3")
TIS_EXPECT = Citation(TPM_TIS_H, 159, 162, "00639f96613725c2")
TIS_SELF_TEST_DONE = Citation(TPM_TIS_H, 163, 166, "c5370c45d8a10d53")
TIS_RESPONSE_RETRY = Citation(TPM_TIS_H, 167, 170, "1bbe967ec76e9e75")
TIS_TIMEOUTS = Citation(TPM_TIS_H, 172, 178, "13fbd3f605f5da2c")
PTP_INTERFACE_CAPABILITY = Citation(TPM_PTP_H, 125, 152, "bf6025cdec4769c2")
PTP_XDATA_FIFO = Citation(TPM_PTP_H, 74, 77, "36c9a7c87589ef6a")
PTP_INTERFACE_ID = Citation(TPM_PTP_H, 69, 72, "0a955a24506fbb93")
PTP_FAMILY = Citation(TPM_PTP_H, 220, 228, "5eafd80b293b8989")
PTP_COMMAND_CANCEL = Citation(TPM_PTP_H, 229, 233, "6a27cfd31a604904")

# A driver that asks for each burst.
EDK2_PRESENCE = Citation(EDK2_TPM2_TIS_C, 39, 48, "a7a4fd785c556ff8")
EDK2_WAITS_WITH_A_TIMEOUT = Citation(EDK2_TPM2_TIS_C, 61, 82, "37c6727b767ca067")
EDK2_READS_THE_BURST_COUNT = Citation(EDK2_TPM2_TIS_C, 95, 127, "5bb63f01819b0112")
EDK2_PREPARES = Citation(EDK2_TPM2_TIS_C, 139, 158, "0832595362ea3964")
EDK2_REQUESTS = Citation(EDK2_TPM2_TIS_C, 171, 194, "24e49f6177959e36")
EDK2_SENDS = Citation(EDK2_TPM2_TIS_C, 239, 254, "807c58ebe719a5f1")
EDK2_CHECKS_EXPECT = Citation(EDK2_TPM2_TIS_C, 256, 269, "9ab9602b2c912ef3")
EDK2_GOES = Citation(EDK2_TPM2_TIS_C, 271, 284, "8b90b61fc81e05d6")
EDK2_READS_THE_HEADER = Citation(EDK2_TPM2_TIS_C, 312, 331, "6b6824cc1094ef91")
EDK2_BOUNDS_THE_RESPONSE = Citation(EDK2_TPM2_TIS_C, 344, 351, "f4f9aa981e1fac0b")
EDK2_LEAVES_READY = Citation(EDK2_TPM2_TIS_C, 372, 383, "ea1861a8013caf3a")

# mini-os' driver.
MINIOS_TIS_INITIALISES = Citation(MINIOS_TPM_TIS_C, 570, 586, "1393348d631a5751")
MINIOS_TIS_DURATION = Citation(MINIOS_TPM_TIS_C, 591, 616, "9ef44fab13d0b535")
MINIOS_TIS_CHECKS_LOCALITY = Citation(MINIOS_TPM_TIS_C, 623, 630, "7d58933a12d8a4b8")
MINIOS_TIS_RELEASES = Citation(MINIOS_TPM_TIS_C, 632, 639, "9b49814163e3c59c")
MINIOS_TIS_REQUESTS = Citation(MINIOS_TPM_TIS_C, 641, 675, "e403ef7c40d8faad")
MINIOS_TIS_ABORTS = Citation(MINIOS_TPM_TIS_C, 682, 685, "720ed2a2fd51b837")
MINIOS_TIS_READS_THE_BURST_COUNT = Citation(MINIOS_TPM_TIS_C, 688, 703, "06c7f025a30a564a")
MINIOS_TIS_WAITS = Citation(MINIOS_TPM_TIS_C, 705, 729, "4be19ea7c6acdf45")
MINIOS_TIS_RECEIVES_DATA = Citation(MINIOS_TPM_TIS_C, 731, 747, "5543e2bf726d9b59")
MINIOS_TIS_RECEIVES = Citation(MINIOS_TPM_TIS_C, 749, 790, "22d17f7310be179a")
MINIOS_TIS_SENDS = Citation(MINIOS_TPM_TIS_C, 791, 863, "0b272804f9fbf270")
MINIOS_TIS_SENDS_THE_LAST_BYTE = Citation(MINIOS_TPM_TIS_C, 827, 834, "a081d085290f7676")
MINIOS_TIS_GOES = Citation(MINIOS_TPM_TIS_C, 836, 850, "d4a3fd0473a449d1")
MINIOS_TIS_TRANSMITS = Citation(MINIOS_TPM_TIS_C, 900, 956, "9a7816f932de97c5")
MINIOS_TIS_TRANSMIT_CMD = Citation(MINIOS_TPM_TIS_C, 958, 972, "8613d302248bf48b")
MINIOS_TIS_TIMEOUTS = Citation(MINIOS_TPM_TIS_C, 974, 1060, "d06a93bff7b463a8")
MINIOS_TIS_SHUTS_DOWN = Citation(MINIOS_TPM_TIS_C, 1101, 1119, "2aa377259e9007cc")
MINIOS_TIS_CMD = Citation(MINIOS_TPM_TIS_C, 1270, 1285, "05892ee5d1db8ed3")
MINIOS_TIS_WRITE = Citation(MINIOS_TPM_TIS_C, 1299, 1323, "088e0ed55a2294ba")
