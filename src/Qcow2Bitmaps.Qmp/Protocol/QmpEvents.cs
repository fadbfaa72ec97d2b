namespace Qcow2Bitmaps.Qmp.Protocol;

/// <summary>Events for the client that is connected and has negotiated; others miss them, as with QEMU. Thread-safe.</summary>
internal sealed class QmpEvents(TimeProvider clock)
{
    private volatile QmpOutput? _listener;

    /// <summary>The receiver of events from now on; null for none.</summary>
    public void SendTo(QmpOutput? listener) => _listener = listener;

    /// <summary>Sends an event.</summary>
    /// <param name="name">Its name.</param>
    /// <param name="data">Writes its data, an object.</param>
    public void Post(string name, QmpResult data)
    {
        const long MicrosecondsPerSecond = 1_000_000;
        long microseconds = (clock.GetUtcNow() - DateTimeOffset.UnixEpoch).Ticks / TimeSpan.TicksPerMicrosecond;
        _listener?.Post(writer =>
        {
            writer.WriteStartObject();
            writer.WriteStartObject("timestamp");
            writer.WriteNumber("seconds", microseconds / MicrosecondsPerSecond);
            writer.WriteNumber("microseconds", microseconds % MicrosecondsPerSecond);
            writer.WriteEndObject();
            writer.WriteString("event", name);
            writer.WritePropertyName("data");
            data(writer);
            writer.WriteEndObject();
        });
    }
}
