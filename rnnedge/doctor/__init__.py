"""The doctor: what will go wrong with an ONNX model on a device, and repairs that are proven."""

from rnnedge.doctor.examination import examine as examine
from rnnedge.doctor.findings import Examination as Examination
from rnnedge.doctor.findings import Finding as Finding
from rnnedge.doctor.fixing import Treatment as Treatment
from rnnedge.doctor.fixing import fix as fix
from rnnedge.errors import RepairError as RepairError
