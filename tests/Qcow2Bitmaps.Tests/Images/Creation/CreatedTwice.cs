using Qcow2Bitmaps.Tests.Support;

namespace Qcow2Bitmaps.Tests.Images.Creation;

/// <summary>
/// One command line of <c>create</c>, run by qemu-img and by the tool, each in a folder of its own with a backing file 'base' of 3 MiB.
/// </summary>
internal sealed class CreatedTwice : IDisposable
{
    private readonly TempFolder _folder;

    private CreatedTwice(TempFolder folder) => _folder = folder;

    public required ProcessResult Qemu { get; init; }

    /// <summary>What the tool did; its name and the path are put as qemu-img's.</summary>
    public required ProcessResult Ours { get; init; }

    public string QemuImage => Path.Combine(_folder.Path, "qemu", "x");

    public string OurImage => Path.Combine(_folder.Path, "ours", "x");

    public string OurData => Path.Combine(_folder.Path, "ours", "d");

    private string QemuData => Path.Combine(_folder.Path, "qemu", "d");

    /// <summary>Runs both. The image is to be called 'x', a data file 'd'.</summary>
    public static async Task<CreatedTwice> RunAsync(params string[] arguments)
    {
        TempFolder folder = TempFolder.InMemory();
        string qemuFolder = Directory.CreateDirectory(Path.Combine(folder.Path, "qemu")).FullName;
        string ourFolder = Directory.CreateDirectory(Path.Combine(folder.Path, "ours")).FullName;
        if (Array.Exists(arguments, static argument => argument.Contains("base", StringComparison.Ordinal)))
        {
            await Support.Qemu.ImgOkAsync("create", "-q", "-f", "qcow2", Path.Combine(qemuFolder, "base"), "3M");
            File.Copy(Path.Combine(qemuFolder, "base"), Path.Combine(ourFolder, "base"));
        }

        ProcessResult qemu = await Support.Qemu.RunAsync("qemu-img", qemuFolder, ["create", .. arguments]);
        string ourImage = Path.Combine(ourFolder, "x");
        // QEMU takes a data file's name relative to the current folder, and so do we: then it must be another one.
        ProcessResult ours = Array.Exists(arguments, static argument => argument.Contains("data_file", StringComparison.Ordinal))
            ? await Tool.RunAsync(ourFolder, ["create", .. arguments])
            : await Support.Cli.RunAsync(["create", .. arguments.Select(argument => argument == "x" ? ourImage : argument)]);
        return new CreatedTwice(folder)
        {
            Qemu = qemu,
            Ours = new ProcessResult(
                ours.ExitCode,
                System.Text.Encoding.UTF8.GetBytes(ours.Output.Replace(ourImage, "x", StringComparison.Ordinal)),
                ours.Error.Replace("qcow2bitmaps: ", "qemu-img: ", StringComparison.Ordinal)
                    .Replace(ourImage, "x", StringComparison.Ordinal)
                    .Replace(ourFolder + "/", "", StringComparison.Ordinal)),
        };
    }

    /// <summary>Whether both have made the same: output, messages, exit codes, and files byte for byte.</summary>
    public string? FindDifference()
    {
        if ((Qemu.ExitCode, Qemu.Output, Qemu.Error.Trim()) != (Ours.ExitCode, Ours.Output, Ours.Error.Trim()))
        {
            return $"qemu-img: {Qemu.ExitCode} {Qemu.Output}{Qemu.Error}\nwe: {Ours.ExitCode} {Ours.Output}{Ours.Error}";
        }

        if (Path.Exists(QemuImage) != Path.Exists(OurImage) || Path.Exists(QemuData) != Path.Exists(OurData))
        {
            return "not the same files are there";
        }

        if (Path.Exists(OurImage) && SparseFiles.FindDifference(QemuImage, OurImage) is { } offset)
        {
            return $"the image differs at offset 0x{offset:x}";
        }

        // With metadata QEMU fills the last cluster of a data file. Ours is as long as the disk, as a raw image is.
        if (Path.Exists(OurData)
            && SparseFiles.FindDifference(QemuData, OurData) is { } dataOffset
            && dataOffset < SparseFiles.LengthOf(OurData))
        {
            return $"the data file differs at offset 0x{dataOffset:x}";
        }

        return null;
    }

    public void Dispose() => _folder.Dispose();
}
