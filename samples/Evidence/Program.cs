using System.Security.Cryptography;
using Qcow2Bitmaps;
using Qcow2Bitmaps.Storage;

// Evidence FILE: prints what can be read of the bitmaps of a damaged image. The file is opened for reading only and without locks, no other
// file is opened, and its hash is computed before and after. Exit code 0 if the file is the same afterwards, 2 if another process changed
// it meanwhile, 1 if it cannot be read.
if (args.Length != 1)
{
    await Console.Error.WriteLineAsync("usage: Evidence FILE");
    return 1;
}

try
{
    string before = await HashAsync(args[0]);
    await Console.Out.WriteLineAsync($"sha256 before: {before}");
    await PrintAsync(args[0]);
    string after = await HashAsync(args[0]);
    await Console.Out.WriteLineAsync($"sha256 after:  {after}");
    return string.Equals(before, after, StringComparison.Ordinal) ? 0 : 2;
}
catch (IOException e)
{
    await Console.Error.WriteLineAsync(e.Message);
    return 1;
}

static async Task<string> HashAsync(string path)
{
    await using FileStream file = File.OpenRead(path);
    return Convert.ToHexString(await SHA256.HashDataAsync(file));
}

static async Task PrintAsync(string path)
{
    await using ImageStorage storage = ImageStorage.OpenFile(path, FileAccess.Read, ImageLock.None);
    // Opens what QEMU opens, and images that QEMU refuses because of their bitmaps.
    await using Qcow2Image image = await Qcow2Image.OpenForCheckAsync(storage, new Qcow2OpenOptions { IsLenient = true });
    await Console.Out.WriteLineAsync(
        $"version {image.Header.Version}, {image.VirtualSizeBytes} bytes, backing file: "
        + $"{ImageText.Escape(image.BackingFile ?? "none")}");
    foreach (FormatFault fault in image.Findings)
    {
        await Console.Out.WriteLineAsync($"fault {fault.Id}: {fault}");
    }

    foreach (BitmapInfo bitmap in image.Bitmaps)
    {
        await PrintBitmapAsync(image, bitmap);
    }
}

static async Task PrintBitmapAsync(Qcow2Image image, BitmapInfo bitmap)
{
    var faults = new List<FormatFault>();
    await Console.Out.WriteLineAsync($"bitmap {ImageText.Escape(bitmap.Name)}: {bitmap.State}, granularity {bitmap.GranularityBytes}");
    try
    {
        // Bits that are missing count as dirty, and are listed as a fault.
        await foreach (DirtyExtent extent in image.Bitmaps.ReadExtentsAsync(bitmap, findings: faults))
        {
            await Console.Out.WriteLineAsync($"  dirty {extent.OffsetBytes} {extent.LengthBytes}");
        }
    }
    catch (Qcow2FormatException e)
    {
        // The location of its bits is unknown; other bitmaps may be intact.
        await Console.Out.WriteLineAsync($"  cannot be read: {e.Fault.Id}");
    }

    foreach (FormatFault fault in faults)
    {
        await Console.Out.WriteLineAsync($"  fault {fault.Id}: {fault}");
    }
}
