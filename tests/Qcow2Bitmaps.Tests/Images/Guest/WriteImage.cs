using System.Globalization;
using Qcow2Bitmaps.Tests.Support;

namespace Qcow2Bitmaps.Tests.Images.Guest;

/// <summary>Makes the image of a case with QEMU, and takes its steps with us, with qemu-io and with a model.</summary>
internal static class WriteImage
{
    private const long BackingSectors = 900;

    private static CancellationToken Token => TestContext.Current.CancellationToken;

    /// <summary>Takes a step with a writer, and with a model of the disk.</summary>
    public static async Task TakeAsync(WriteStep step, WriteCase write, Disk writer, byte[] model)
    {
        (long offset, int length) = step.RangeOn(write.SizeBytes, write.ClusterBytes);
        Span<byte> part = model.AsSpan((int)offset, length);
        byte[] content = step.Content(offset, length);
        switch (step.Action)
        {
            case WriteAction.Compressed when write.DataFile.Length == 0:
                content.CopyTo(part);
                await writer.WriteCompressedAsync(offset, content, Token);
                break;
            case WriteAction.Write or WriteAction.Compressed:
                content.CopyTo(part);
                await writer.WriteAsync(offset, content, Token);
                break;
            case WriteAction.Zero or WriteAction.ZeroUnmap:
                part.Clear();
                await writer.WriteZerosAsync(offset, length, step.Action == WriteAction.ZeroUnmap, Token);
                break;
            case WriteAction.Discard:
                await writer.DiscardAsync(offset, length, Token);
                if (write.IsVersion2 && write.Backing.Length > 0)
                {
                    break;
                }

                int size = write.ClusterBytes;
                long first = (offset + size - 1) / size * size;
                long end = offset + length == write.SizeBytes ? write.SizeBytes : (offset + length) / size * size;
                if (first < end)
                {
                    model.AsSpan((int)first, (int)(end - first)).Clear();
                }

                break;
            case WriteAction.Flush:
                await writer.FlushAsync(Token);
                break;
        }
    }

    /// <summary>A step as qemu-io takes it.</summary>
    public static IEnumerable<string> Commands(WriteStep step, WriteCase write, bool isCompressed)
    {
        (long offset, int length) = step.RangeOn(write.SizeBytes, write.ClusterBytes);
        if (step.Action is WriteAction.Flush or WriteAction.Reopen)
        {
            yield return "flush";
        }
        else if (step.Action is WriteAction.Zero or WriteAction.ZeroUnmap or WriteAction.Discard)
        {
            string command = step.Action switch { WriteAction.Zero => "write -z", WriteAction.ZeroUnmap => "write -z -u", _ => "discard" };
            yield return string.Create(CultureInfo.InvariantCulture, $"{command} {offset} {length}");
        }
        else if (isCompressed && step.Action == WriteAction.Compressed && length == write.ClusterBytes)
        {
            yield return string.Create(CultureInfo.InvariantCulture, $"write -c -P {step.Pattern} {offset} {length}");
        }
        else
        {
            // Patterns of qemu-io are one byte.
            for (long at = offset; at < offset + length;)
            {
                long end = Math.Min(offset + length, WriteStep.EndOfPattern(at));
                yield return string.Create(CultureInfo.InvariantCulture, $"write -P {step.PatternAt(at)} {at} {end - at}");
                at = end;
            }
        }
    }

    /// <summary>Makes the image; the first one is called ours and makes the backing file too.</summary>
    public static async Task<string> CreateAsync(TempFolder folder, WriteCase write, string name)
    {
        string path = folder.File(name + ".qcow2");
        string options = write.Options;
        if (write.DataFile.Length > 0)
        {
            options += $",data_file={folder.File(name + ".data")},data_file_raw={(write.DataFile == "raw" ? "on" : "off")}";
        }

        string size = write.SizeBytes.ToString(CultureInfo.InvariantCulture);
        if (write.Backing.Length == 0)
        {
            await Qemu.ImgOkAsync("create", "-q", "-f", "qcow2", "-o", options, path, size);
        }
        else
        {
            string backing = folder.File("backing." + write.Backing);
            if (name == "ours")
            {
                await Qemu.ImgOkAsync(
                    "create", "-q", "-f", "qcow2", folder.File("b.qcow2"), (BackingSectors * 512).ToString(CultureInfo.InvariantCulture));
                await Qemu.IoOkAsync(folder.File("b.qcow2"), "write -P 201 0 100k", "write -P 202 150k 123k", "write -z 200k 8k");
                await Qemu.ImgOkAsync("convert", "-O", write.Backing, folder.File("b.qcow2"), backing);
            }

            await Qemu.ImgOkAsync("create", "-q", "-f", "qcow2", "-b", backing, "-F", write.Backing, "-o", options, path, size);
        }

        var done = new HashSet<long>();
        foreach (WriteStep step in write.Before)
        {
            // QEMU compresses only what is not there yet.
            bool isCompressed = write.DataFile.Length == 0 && done.Count == 0;
            done.Add(step.Place);
            await Qemu.IoOkAsync(path, [.. Commands(step, write, isCompressed)]);
        }

        if (write.HasSnapshot)
        {
            await Qemu.ImgOkAsync("snapshot", "-c", "s", path);
            await Qemu.IoOkAsync(
                path,
                write.Before.Take(2).SelectMany(step => Commands(step, write, isCompressed: false)).ToArray() is { Length: > 0 } some
                    ? some
                    : ["flush"]);
        }

        if (!write.IsVersion2)
        {
            await Qemu.ImgOkAsync("bitmap", "--add", path, "recording", "-g", "4k");
            await Qemu.ImgOkAsync("bitmap", "--add", path, "coarse");
            await Qemu.ImgOkAsync("bitmap", "--add", "--disable", path, "off");
        }

        return path;
    }
}
