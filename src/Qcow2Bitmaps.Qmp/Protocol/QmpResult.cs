using System.Text.Json;

namespace Qcow2Bitmaps.Qmp.Protocol;

/// <summary>Writes what a command returns: one JSON value.</summary>
internal delegate void QmpResult(Utf8JsonWriter writer);
