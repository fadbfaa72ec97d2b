using System.Text.Json;

namespace Qcow2Bitmaps.Qmp.Jobs;

/// <summary>What <c>query-jobs</c> and <c>query-block-jobs</c> return.</summary>
internal sealed partial class QmpJobs
{
    public void WriteJobs(Utf8JsonWriter writer)
    {
        writer.WriteStartArray();
        foreach (QmpJob job in All)
        {
            writer.WriteStartObject();
            writer.WriteString("id", job.Id);
            writer.WriteString("type", Type);
            writer.WriteString("status", job.Status);
            writer.WriteNumber("current-progress", job.CopiedBytes);
            writer.WriteNumber("total-progress", job.TotalBytes);
            WriteError(writer, job);
            writer.WriteEndObject();
        }

        writer.WriteEndArray();
    }

    public void WriteBlockJobs(Utf8JsonWriter writer)
    {
        writer.WriteStartArray();
        foreach (QmpJob job in All)
        {
            writer.WriteStartObject();
            writer.WriteString("device", job.Id);
            writer.WriteString("type", Type);
            writer.WriteNumber("len", job.TotalBytes);
            writer.WriteNumber("offset", job.CopiedBytes);
            writer.WriteNumber("speed", job.BytesPerSecond);
            writer.WriteString("status", job.Status);
            writer.WriteString("io-status", "ok");
            writer.WriteBoolean("busy", job.Status is QmpJobStatus.Running);
            writer.WriteBoolean("paused", job.Status is QmpJobStatus.Paused);
            writer.WriteBoolean("ready", false);
            writer.WriteBoolean("auto-finalize", job.IsFinalizedAlone);
            writer.WriteBoolean("auto-dismiss", job.IsDismissedAlone);
            WriteError(writer, job);
            writer.WriteEndObject();
        }

        writer.WriteEndArray();
    }

    private static void WriteError(Utf8JsonWriter writer, QmpJob job)
    {
        if (job.Error is { } error)
        {
            writer.WriteString("error", error);
        }
    }
}
