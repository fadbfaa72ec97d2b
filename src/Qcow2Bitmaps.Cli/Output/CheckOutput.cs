using System.Globalization;

namespace Qcow2Bitmaps.Cli.Output;

/// <summary>Prints the summary of a check as qemu-img prints it.</summary>
internal static class CheckOutput
{
    /// <summary>Prints what a repair did, before the image is checked again.</summary>
    public static void WriteFixed(CheckReport report, ToolWriter output)
    {
        if (report.LeaksFixed + report.CorruptionsFixed > 0)
        {
            output.WriteLine(
                $"The following inconsistencies were found and repaired:\n\n    {report.LeaksFixed} leaked clusters\n    "
                + $"{report.CorruptionsFixed} corruptions\n\nDouble checking the fixed image now...");
        }
    }

    public static void WriteText(CheckReport report, ToolWriter output)
    {
        if (report is { Corruptions: 0, Leaks: 0, CheckErrors: 0 })
        {
            output.WriteLine("No errors were found on the image.");
        }

        if (report.Corruptions > 0)
        {
            output.WriteLine(
                $"\n{report.Corruptions} errors were found on the image.\nData may be corrupted, or further writes to the image may "
                + $"corrupt it.");
        }

        if (report.Leaks > 0)
        {
            output.WriteLine(
                $"\n{report.Leaks} leaked clusters were found on the image.\nThis means waste of disk space, but no harm to data.");
        }

        if (report.CheckErrors > 0)
        {
            output.WriteLine($"\n{report.CheckErrors} internal errors have occurred during the check.");
        }

        if (report is { TotalClusters: > 0, AllocatedClusters: > 0 })
        {
            output.WriteLine(string.Create(
                CultureInfo.InvariantCulture,
                $"{report.AllocatedClusters}/{report.TotalClusters} = {Percent(report.AllocatedClusters, report.TotalClusters)}% "
                + $"allocated, {Percent(report.FragmentedClusters, report.AllocatedClusters)}% fragmented, "
                + $"{Percent(report.CompressedClusters, report.AllocatedClusters)}% compressed clusters"));
        }

        if (report.ImageEndOffset > 0)
        {
            output.WriteLine($"Image end offset: {report.ImageEndOffset}");
        }
    }

    /// <summary>
    /// The members are in the order of QEMU's hash tables. Zero values are omitted, except the errors of the check itself. <c>findings</c>
    /// is an addition of this tool.
    /// </summary>
    public static void WriteJson(CheckReport report, string path, ToolWriter output)
    {
        var json = new QemuJsonWriter(output);
        json.StartObject();
        json.Number("image-end-offset", report.ImageEndOffset);
        NumberUnlessZero(json, "compressed-clusters", report.CompressedClusters);
        NumberUnlessZero(json, "total-clusters", report.TotalClusters);
        NumberUnlessZero(json, "corruptions", report.Corruptions);
        NumberUnlessZero(json, "corruptions-fixed", report.CorruptionsFixed);
        json.Number("check-errors", report.CheckErrors);
        NumberUnlessZero(json, "leaks", report.Leaks);
        NumberUnlessZero(json, "leaks-fixed", report.LeaksFixed);
        NumberUnlessZero(json, "allocated-clusters", report.AllocatedClusters);
        json.String("filename", path);
        json.String("format", ImageFormat.Qcow2);
        NumberUnlessZero(json, "fragmented-clusters", report.FragmentedClusters);
        WriteFindings(json, report);
        json.EndObject();
        json.Complete();
    }

    /// <summary>Writes what qemu-img prints only on standard error.</summary>
    private static void WriteFindings(QemuJsonWriter json, CheckReport report)
    {
        if (report.Repairs.Count + report.Findings.Count == 0)
        {
            return;
        }

        json.StartArray("findings");
        foreach (CheckFinding finding in report.Repairs.Concat(report.Findings))
        {
            json.StartObject();
            json.String("kind", KindOf(finding.Kind));
            json.String("message", finding.Message);
            json.EndObject();
        }

        json.EndArray();
    }

    private static string KindOf(CheckFindingKind kind) => kind switch
    {
        CheckFindingKind.Leak => "leak",
        CheckFindingKind.Corruption => "corruption",
        CheckFindingKind.CheckError => "check-error",
        _ => "repair",
    };

    private static void NumberUnlessZero(QemuJsonWriter json, string name, long value)
    {
        if (value != 0)
        {
            json.Number(name, value);
        }
    }

    private static string Percent(long part, long whole) => (part * 100.0 / whole).ToString("F2", CultureInfo.InvariantCulture);
}
